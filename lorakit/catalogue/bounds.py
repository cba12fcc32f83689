"""Between which numbers an option means something to kohya's scripts: bounds.toml."""

from typing import Any, NamedTuple

from lorakit import tomllib

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


BOUNDS = tuple(Bound(rule, **one) for rule, one in tomllib.page(__file__, "bounds.toml").items())
