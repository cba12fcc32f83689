"""Wan's, which is as Z-Image's is."""

from pathlib import Path
from runpy import run_path

run_path(str(Path(__file__).with_name("zimage_train_network.py")), run_name="__main__")
