"""Stand-in for musubi-tuner's cacher of texts."""

from caching import cache

if __name__ == "__main__":
    cache("text_encoder", "_te.safetensors", lambda picture, table: (f"{picture.stem}_zi_te.safetensors", picture.with_suffix(table["caption_extension"]).read_text(encoding="utf-8")))  # fmt: skip
