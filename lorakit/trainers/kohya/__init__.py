"""The vendored sd-scripts: never edited, never imported by us."""
