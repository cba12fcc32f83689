"""Prove that a run is what its recipe says: lock, verify, compare, and the table of everything
that was trained.
"""
