"""The folder of photos: what is in it, what kohya makes of it, the commands that get it right."""
