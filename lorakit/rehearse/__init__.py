"""The same plan, a few steps, on weights that nobody had to download: does this machine train?"""
