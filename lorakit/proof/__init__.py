"""Prove that a run is what its recipe says: lock, verify, compare."""
