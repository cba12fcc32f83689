"""One self-contained page about a run: what went in, how it went, what came out."""
