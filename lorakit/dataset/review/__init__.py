"""A small local page to look at every image and its caption. Loopback only, one random token,
nothing from elsewhere.
"""
