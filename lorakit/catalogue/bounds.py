"""Between which numbers an option means something to kohya's scripts, and what happens outside."""

from typing import Any, NamedTuple

# Values that an option's choices lack, and that the scripts take for what they do anyway: the
# choices are those of the command line, which a config file passes by.
AS_EVER = {"max_token_length": (75,), "dynamo_backend": ("no", "NO")}


class Bound(NamedTuple):
    rule: str
    options: tuple[str, ...]
    least: float
    why: str
    most: float | None = None
    below: float | None = None

    def outside(self, said: Any) -> list[float]:
        """Which numbers of a value, or of a list, are none."""
        numbers = said if isinstance(said, (list, tuple)) else [said]
        return [
            one
            for one in numbers
            if isinstance(one, (int, float))
            and not isinstance(one, bool)
            and not (
                one >= self.least
                and (self.most is None or one <= self.most)
                and (self.below is None or one < self.below)
            )
        ]

    @property
    def range(self) -> str:
        if self.below is not None:
            return f"{self.least:g} or more, and less than {self.below:g}"
        most = "or more" if self.most is None else f"to {self.most:.0f}"
        return f"{self.least:g} {most}"


BOUNDS = (
    Bound(
        "interval-zero",
        (
            *("save_every_n_epochs", "save_every_n_steps"),
            *("validate_every_n_epochs", "validate_every_n_steps"),
        ),
        1,
        "the script divides by it and ends with a ZeroDivisionError",
    ),
    Bound(
        "count-positive",
        (
            *("max_train_steps", "max_train_epochs", "train_batch_size"),
            "gradient_accumulation_steps",
        ),
        1,
        "nothing would be trained",
    ),
    Bound("rank-positive", ("network_dim",), 1, "this is not a rank"),
    Bound("alpha-positive", ("network_alpha",), 0, "this is not an alpha; 0 means the rank"),
    Bound("dropout-share", ("network_dropout",), 0, "this is not a share", below=1),
    Bound(
        "validation-share",
        ("validation_split",),
        0,
        "this is not a share, or leaves no images to train",
        below=1,
    ),
    Bound("seed-range", ("seed",), 0, "numpy takes no such seed", most=2**32 - 1),
    Bound(
        "rate-negative",
        (
            *("learning_rate", "unet_lr", "text_encoder_lr", "self_attn_lr", "cross_attn_lr"),
            *("mlp_lr", "mod_lr", "llm_adapter_lr"),
        ),
        0,
        "the optimiser refuses a negative rate",
    ),
    Bound(
        "workers-negative",
        ("max_data_loader_n_workers",),
        0,
        "there cannot be fewer workers than none",
    ),
    Bound("cache-batch", ("vae_batch_size",), 1, "the script ends with an error while it caches"),
    Bound("clip-skip-zero", ("clip_skip",), 1, "no layer of the text encoder would be used"),
    Bound(
        "timestep-bound",
        ("min_timestep", "max_timestep"),
        0,
        "the model has a thousand timesteps",
        most=1000,
    ),
    Bound(
        "negative-count",
        ("blocks_to_swap", "keep_tokens", "max_grad_norm"),
        0,
        "less than none is no amount",
    ),
)
