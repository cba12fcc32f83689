"""ai-toolkit: one YAML, one process, for the image and video models that people train today."""
