"""Every random number follows from the run's seed and a purpose: nothing to save or disturb."""

from __future__ import annotations

import hashlib


def seed_of(*parts: object) -> int:
    """A 63-bit number that is the same on every machine, in every process, for the same words."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
