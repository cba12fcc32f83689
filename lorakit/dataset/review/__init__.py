"""A small local page for every image and its caption: loopback only, one token."""
