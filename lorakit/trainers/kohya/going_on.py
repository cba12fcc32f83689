"""How sd-scripts is made to go on from step S of T; arithmetic only.

Behaviour read in train_network.py of the pinned commit: the resume code before the loop, and the
two save rules in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorakit.trainers.continuation import ANEW, Continuation, Paused, saves_after

# accelerate restores the random states of Python, numpy, torch and CUDA (on a CPU it says that it
# could not, after having done so), but none of Apple's GPU; the data's order is shuffled only after
# each worker has drawn its first batch (library/train_util.py, collator).
FIRST_BATCH = (
    "the first batch of each data worker may be another one; noise and timesteps go on as they"
    " were, except on Apple GPUs"
)


def go_on_in_kohya(at: Paused, settings: Mapping[str, Any]) -> Continuation:
    """Three cases: between two epochs; inside one; inside one with accumulation, where the script
    cannot skip.
    """
    step, total, per_epoch, accumulation = at
    save_every = settings.get("save_every_n_steps")
    epochs_done, inside = divmod(step, per_epoch)
    skips = bool(inside) and accumulation == 1
    offset = step - inside if skips else step
    changes: dict[str, Any] = {
        "initial_step": step,
        "skip_until_initial_step": True if skips else None,
    }
    inexact = [ANEW if inside else FIRST_BATCH]
    if skips:
        inexact.append(
            f"epoch {epochs_done + 1} skips as many batches as were seen, but some of its images"
            " come twice and some not at all"
        )
    elif inside:
        inexact.append(
            f"epoch {epochs_done + 1} begins again with its first image, because with accumulation"
            f" the script cannot skip what was seen; epochs end {inside} steps later than planned"
        )
    epochs = -(-total // per_epoch)
    begins_again = inside and not skips
    reaches = step + (epochs - epochs_done) * per_epoch if begins_again else epochs * per_epoch
    stop_after = total if reaches > total else 0
    saves = saves_after(save_every, offset, stop_after)
    changes |= saves.changes(save_every)
    return Continuation(changes, offset, step, stop_after, saves.phase, (*inexact, *saves.remarks))
