"""Which checkpoint at which strength, from losses alone; a child with torch measures."""
