"""The folder of photos: what is in it, what kohya will make of it, and the commands that get it
right.
"""
