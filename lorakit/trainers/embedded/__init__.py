"""Our own small kohya-compatible train script. The only rooms that import torch."""
