"""Pictures by checkpoint, strength and prompt, to choose from; a child with torch draws."""
