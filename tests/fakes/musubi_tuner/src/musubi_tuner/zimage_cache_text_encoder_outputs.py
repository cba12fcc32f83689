"""Stand-in for musubi-tuner's cacher of texts."""

from caching import cache


def main(option: str = "text_encoder") -> None:
    cache(option, "_te.safetensors", lambda picture, table: (f"{picture.stem}_zi_te.safetensors", picture.with_suffix(table["caption_extension"]).read_text(encoding="utf-8")))  # fmt: skip


if __name__ == "__main__":
    main()
