"""A sheet: one picture of many, checkpoint x strength x prompt, so that a person can choose.
Imports no torch: a child process draws.
"""

from __future__ import annotations

from lorakit.sheet.make import make_sheet, sheet_from_samples
from lorakit.sheet.model import Choice, Column, Row, Sheet

__all__ = ["Choice", "Column", "Row", "Sheet", "make_sheet", "sheet_from_samples"]
