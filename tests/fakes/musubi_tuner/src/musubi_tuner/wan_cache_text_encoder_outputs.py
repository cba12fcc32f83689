"""Wan's, whose text encoder is named by --t5."""

import zimage_cache_text_encoder_outputs as same

if __name__ == "__main__":
    same.main("t5")
