"""What goes wrong is printed so that lorakit finds it in the log: each fault on a line of its own
that begins with "error: ".
"""

from __future__ import annotations

from lorakit.embedded.main import words
from lorakit.errors import Fault, RecipeError, SetupError


def test_each_fault_has_a_line_of_its_own() -> None:
    error = RecipeError(
        "2 problems; nothing was started.",
        faults=[
            Fault("a", "is wrong."),
            Fault("b", "is idle.", severity="warning"),
            Fault("c", "too."),
        ],
    )
    assert words(error).splitlines() == [
        "error: a: is wrong.",
        "error: c: too.",
        "2 problems; nothing was started.",
    ]


def test_an_error_without_faults_is_one_itself() -> None:
    assert words(SetupError("base: does not exist.", hint="Download it.")).splitlines() == [
        "error: base: does not exist.",
        "Download it.",
    ]
