"""Ends with exit code 0 and nothing written, as sd-scripts does when it finds no images."""

from saying import say

say("ERROR    No data found. Please verify arguments (train_data_dir must be the")
say("         parent of folders with images)")
