"""What is trained: one table. A family owns its facts: script, weights, sizes, words."""

from lorakit.families.family import Family, read_families

FAMILIES: dict[str, Family] = {**read_families("kohya.toml"), **read_families("musubi.toml")}


def run_by(trainer: str) -> dict[str, Family]:
    """The families that this trainer can run."""
    return {name: family for name, family in FAMILIES.items() if trainer in family.trainers}
