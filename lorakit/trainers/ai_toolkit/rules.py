"""What ai-toolkit forbids or silently gets wrong, as far as settings and the machine alone decide
it. Names of kohya's that it has no counterpart for are refused by the catalogue.
"""

from lorakit import tomllib
from lorakit.trainers.ai_toolkit.config_file import OPTIMIZERS, optimizer, warmup
from lorakit.trainers.rule import Finder, Rule, rules_of

# What lies in the run's output beside the LoRA files: it would be taken for one to go on from.
BESIDE = ("config.yaml", "optimizer.pt", "samples", "sample", "loss_log.db", "learnable_snr.json")
SCHEDULES = ("constant", "constant_with_warmup", "cosine", "cosine_with_restarts")


RULES: tuple[Finder, ...] = (
    *rules_of(tomllib.page(__file__, "options.toml")["rule"]),
    Rule(
        "aitk-name",
        "output_name",
        lambda c: any(name.startswith(c.output_name) for name in BESIDE),
        "{value} is how another file begins that ai-toolkit writes; it would go on from that.",
        "Give the recipe another name; any that no such file begins with.",
    ),
    Rule(
        "aitk-scheduler",
        "lr_scheduler",
        lambda c: c.text("lr_scheduler") not in {"", "linear", *SCHEDULES},
        "{value} is none that ai-toolkit can build.",
        f"There are {', '.join(SCHEDULES)}.",
    ),
    Rule(
        "aitk-warmup",
        "lr_warmup_steps",
        lambda c: warmup(c) > 0 and c.text("lr_scheduler") != "constant_with_warmup",
        "ai-toolkit warms up with constant_with_warmup alone.",
        'Write lr_scheduler = "constant_with_warmup", or leave the warm-up out.',
    ),
    Rule(
        "aitk-alpha",
        "network_alpha",
        lambda c: c.about.flow and c.value("network_alpha") not in (None, c.rank),
        "{value} would be ignored: for this model ai-toolkit takes the rank.",
        "Write network_alpha = network_dim, and the rate that goes with it.",
    ),
    Rule(
        "aitk-optimizer",
        "optimizer_type",
        lambda c: optimizer(c) not in OPTIMIZERS,
        "{value} is none that ai-toolkit has under this name.",
        f"There are {', '.join(OPTIMIZERS)}.",
    ),
    Rule(
        "aitk-adaptive",
        "learning_rate",
        lambda c: optimizer(c) == "prodigy" and c.number("learning_rate") < 0.1,
        "{value} would silently become 1.0 with this optimiser.",
        "Write learning_rate = 1.0.",
    ),
    Rule(
        "aitk-text-cache",
        "cache_text_encoder_outputs",
        lambda c: c.flag("cache_text_encoder_outputs") and c.anywhere("shuffle_caption"),
        "a cached caption cannot be shuffled.",
        "Take one of them out.",
    ),
    Rule(
        "aitk-experts",
        "train_high_noise",
        lambda c: c.value("train_high_noise") is False and c.value("train_low_noise") is False,
        "neither expert would be trained.",
        "Set one of train_high_noise and train_low_noise.",
    ),
    Rule(
        "aitk-expert-elsewhere",
        "train_high_noise",
        lambda c: (
            c.family != "wan22" and (c.is_set("train_high_noise") or c.is_set("train_low_noise"))
        ),
        "only Wan 2.2 has two experts.",
        "Take it out.",
    ),
    Rule(
        "aitk-square",
        "resolution",
        lambda c: any(width != height for width, height in c.resolutions),
        "ai-toolkit takes one number: the side of a square of as many pixels.",
        'Write resolution = "1024".',
    ),
    Rule(
        "aitk-processes",
        "processes",
        lambda c: c.processes > 1 or c.launch("machines", 1) > 1,
        "lorakit starts ai-toolkit on one device.",
        "Leave processes and machines out of [launch].",
    ),
)
