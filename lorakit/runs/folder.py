"""The names of the files in a run's folder."""

from __future__ import annotations

LOG, EVENTS, PROGRESS = "log.txt", "events.jsonl", "progress.jsonl"
