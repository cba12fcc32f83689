"""musubi-tuner: kohya's other project, for the image and video models of 2025 and 2026."""
