"""The vendored sd-scripts: where it is, what it accepts, its rules and its failures. Never edited,
never imported by us.
"""
