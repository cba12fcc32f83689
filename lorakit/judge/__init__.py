"""Which checkpoint at which strength, how surely, from losses alone. Imports no torch: a child
process measures.
"""
