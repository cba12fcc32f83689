"""No test of this room leaves a process behind."""

from plans_by_hand import no_orphans

__all__ = ["no_orphans"]
