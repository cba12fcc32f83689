"""Preset + recipe + --set become one Resolved in which every value remembers its source."""
