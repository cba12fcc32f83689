"""Wan's, which is as Z-Image's is."""

import zimage_cache_latents as same

if __name__ == "__main__":
    same.main()
