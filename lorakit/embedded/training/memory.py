"""How many of the denoiser's blocks are recomputed instead of kept: as few as the card's memory
allows where gradient_checkpointing is "auto", and more where it runs out in the middle.
"""

import hashlib

import torch

from lorakit.config import cache_dir
from lorakit.embedded.training.session import Session
from lorakit.errors import TrainingFailed
from lorakit.memo import Memo

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
ROOM = 0.92  # of the memory: other programs and the allocator's own gaps want some
DECIDES = (
    *("resolution", "train_batch_size", "mixed_precision", "full_bf16", "network_dim"),
    *("network_args", "network_train_unet_only", "optimizer_type", "fp8_base", "cache_latents"),
    *("max_bucket_reso", "dataset_config", "ema_decay", "blocks_to_swap", "frozen_linear"),
)


class Card:
    """Bytes, as the driver and the allocator count them."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.name = device, torch.cuda.get_device_name(device)

    def room(self) -> int:
        """What this process holds, and what nobody does."""
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(free) + torch.cuda.memory_reserved(self.device)

    def peak(self) -> int:
        """Of tensors since the last time this was asked."""
        found = torch.cuda.max_memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return int(found)

    def give_back(self) -> None:
        torch.cuda.empty_cache()


def card_of(device: torch.device) -> Card | None:
    return Card(device) if device.type == "cuda" else None


class RecomputeLadder:
    """From nothing recomputed to everything."""

    def __init__(self, session: Session) -> None:
        args = session.args
        self.s, self.denoiser = session, session.objective.denoiser
        self.card = card_of(session.world.device)
        self.peaks: dict[float, int] = {}
        asked = args.gradient_checkpointing
        swapped = bool(getattr(args, "blocks_to_swap", None))  # weights come with a recomputation
        self.measuring = asked == "auto" and self.card is not None and not swapped
        self.share = 1.0 if asked else 0.0
        self.file, self.memo = session.base.files[0], Memo(cache_dir() / "embedded" / "memory.json")
        known = self.memo.get(self.file)
        self.known: dict[str, float] = known if isinstance(known, dict) else {}
        if self.measuring and self._key() in self.known:
            self.measuring = False
            self.set(float(self.known[self._key()]))
        if self.measuring and self.card is not None:
            self.card.peak()

    def set(self, share: float) -> None:
        self.share = share
        self.denoiser.enable_gradient_checkpointing(share, draws=self.s.network.draws)

    def after_step(self) -> bool:
        """Whether the next step is another: two are measured, then one is chosen and remembered."""
        if not self.measuring or self.card is None:
            return False
        self.peaks[self.share] = self.card.peak()
        if len(self.peaks) == 1:
            self.set(0.75)
            return True
        slope = max(0.0, (self.peaks[0.75] - self.peaks[1.0]) / 0.25)
        room, least = ROOM * self.card.room(), self.peaks[1.0]
        fitting = [share for share in SHARES if least + slope * (1 - share) <= room]
        self.measuring = False
        self.set(min(fitting, default=1.0))
        self.s.world.say(f"\n{self.words()}: so much memory is free")
        self._remember()
        return True

    def down(self, error: BaseException) -> None:
        """One step, said; or the end of the run, where there is none."""
        self.measuring = False
        more = [share for share in SHARES if share > self.share]
        if not more or not self.denoiser.units():
            raise TrainingFailed(
                str(error).splitlines()[0],
                hint="Everything is recomputed already. A smaller train_batch_size or resolution,"
                " blocks_to_swap, or a smaller network_dim needs less.",
            ) from error
        self.set(more[0])
        if self.card is not None:
            self.card.give_back()
        self.s.world.say(f"\nnote: out of memory; {self.words()} from now on, which is slower")
        if self.s.args.gradient_checkpointing == "auto":
            self._remember()

    def words(self) -> str:
        count = len(self.denoiser.units())
        return f"{count - len(self.denoiser.kept)} of {count} blocks are recomputed"

    def _key(self) -> str:
        facts = [(name, getattr(self.s.args, name, None)) for name in DECIDES]
        text = repr((self.card.name if self.card else "", facts))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _remember(self) -> None:
        self.memo.put(self.file, {**self.known, self._key(): self.share})
        self.memo.save()
