"""[subject]: whom a recipe shows, where the pictures come from, under which licence. Not read by
training; kept by the record, the report and a bundle.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from lorakit.errors import Fault, did_you_mean
from lorakit.recipe.document import Document
from lorakit.recipe.model import Consent, Subject
from lorakit.recipe.schema import SUBJECT
from lorakit.recipe.values import fit

CONSENT = ("by", "date", "scope")


def read_subject(document: Document) -> tuple[Subject, list[Fault]]:
    table = document.data.get("subject")
    if not isinstance(table, dict):  # said with the other keys of the top level
        return Subject(), []
    found: dict[str, Any] = {}
    more: dict[str, str] = {}
    faults: list[Fault] = []
    for key, value in table.items():
        where = f"{document.source('subject', key)} [subject] {key}"
        if key not in SUBJECT:
            more[key] = str(value)
            if near := did_you_mean(key, SUBJECT):
                what = f"is kept, but lorakit knows {', '.join(SUBJECT)}."
                faults.append(Fault(where, what, near, "subject", "warning"))
            continue
        fitted = fit(SUBJECT[key], value)
        if fitted.problem:
            faults.append(Fault(where, fitted.problem, fitted.hint, "value"))
        elif key == "consent":
            wrong = list(_consent_faults(value, where))
            faults += wrong
            found[key] = None if wrong else Consent(*(str(value[word]) for word in CONSENT))
        else:
            found[key] = fitted.value
    return Subject(**found, more=more), faults


def _consent_faults(table: Mapping[str, Any], where: str) -> Iterator[Fault]:
    hint = 'Such as { by = "Maya Lind", date = 2026-11-28, scope = "training, private use" }.'
    for key in CONSENT:
        if not str(table.get(key, "")).strip():
            yield Fault(f"{where}.{key}", "is not said.", hint, "value")
    for key in table.keys() - {*CONSENT}:
        what = "consent has no such key."
        yield Fault(f"{where}.{key}", what, did_you_mean(key, CONSENT) or hint, "value")
    try:
        date.fromisoformat(str(table.get("date", "2000-01-01"))[:10])
    except ValueError:
        yield Fault(f"{where}.date", f"{table['date']!r} is no date.", "Write 2026-11-28.", "value")
