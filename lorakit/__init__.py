"""lorakit turns a short recipe in git into a trained LoRA, and tells the truth about it before,
meanwhile and afterwards.
"""

__version__ = "0.1.0"
