"""A sheet: one picture of many, checkpoint x strength x prompt, to choose from. Imports no torch: a
child process draws.
"""
