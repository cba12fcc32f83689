"""One small module per command; the only rooms that print or choose an exit code."""
