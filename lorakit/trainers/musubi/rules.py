"""What musubi-tuner asserts, forbids or silently gets wrong, as far as settings and the machine
alone decide it; options.toml has what is about one option or two.
"""

from lorakit import tomllib
from lorakit.trainers.rule import Case, Finder, Rule, not_on, rules_of, swaps_at_most, warning

ATTENTION = ("sdpa", "flash_attn", "xformers", "flash3", "sage_attn")
WAN = ("wan21", "wan22")


def _is_expert(case: Case) -> bool:
    return case.text("task").endswith("A14B") and not case.is_set("dit_high_noise")


def _open_range(case: Case) -> bool:
    return not (case.is_set("min_timestep") and case.is_set("max_timestep"))


def _not_its_range(case: Case) -> bool:
    border = 900 if case.text("task").startswith("i2v") else 875
    low, high = case.integer("min_timestep"), case.integer("max_timestep")
    return not _open_range(case) and (low, high) not in {(0, border), (border, 1000)}


RULES: tuple[Finder, ...] = (
    *rules_of(tomllib.page(__file__, "options.toml")["rule"]),
    # One block less than there are, or what the model's own rule leaves.
    swaps_at_most("musubi-swap-too-many", {"qwen_image": 59, "flux_kontext": 35}),
    not_on(
        "musubi-cpu-wan",
        "cpu",
        "bf16",
        "bf16 fails on a CPU in Wan's model.",
        families=WAN,
        severity="warning",
    ),
    Rule(
        "musubi-attention",
        "sdpa",
        lambda c: not any(map(c.flag, ATTENTION)),
        "no attention is chosen, and the script stops without one.",
        "Write sdpa = true.",
    ),
    Rule(
        "musubi-module",
        "network_module",
        lambda c: (
            c.network_module.removeprefix("musubi_tuner.")
            not in {c.about.network_module, "networks.loha", "networks.lokr"}
        ),
        "{value} is not made for this family.",
        "Leave network_module out, or write networks.loha or networks.lokr.",
    ),
    Rule(
        "musubi-expert-range",
        "min_timestep",
        lambda c: _is_expert(c) and _open_range(c),
        "one expert of Wan 2.2 would be trained on all timesteps, also those it never sees in use.",
        "Text to video: 875 and 1000 for high noise, 0 and 875 for low (image to video: 900).",
        families=WAN,
    ),
    warning(
        "musubi-expert-border",
        "min_timestep",
        lambda c: _is_expert(c) and _not_its_range(c),
        "the experts change places at 875 (text to video) or 900 (image to video).",
        "Then min_timestep and max_timestep are 0 and 875, or 875 and 1000.",
        families=WAN,
    ),
    Rule(
        "musubi-clip",
        "clip",
        lambda c: c.text("task").startswith("i2v-14B") and not c.is_set("clip"),
        "is not set, and Wan 2.1's image to video reads the first frame through it.",
        "Name the CLIP weights: [model] clip = ....",
        families=WAN,
    ),
    warning(
        "musubi-alpha",
        "network_alpha",
        lambda c: not c.is_set("network_alpha") and c.rank > 1,
        "is not set: the script's 1 divides the rate by the rank.",
        "Write network_alpha = network_dim.",
    ),
)
