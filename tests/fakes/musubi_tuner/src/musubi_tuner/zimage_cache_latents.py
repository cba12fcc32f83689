"""Stand-in for musubi-tuner's cacher of latents: the same names, lines and silences."""

from caching import cache, size_of


def main() -> None:
    cache("vae", "", lambda picture, _: ("{}_{:04d}x{:04d}_zi.safetensors".format(picture.stem, *size_of(picture)), str(picture)))  # fmt: skip


if __name__ == "__main__":
    main()
