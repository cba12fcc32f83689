"""A value fits its option, is converted where nothing is lost, or is refused with the right spelling."""

from __future__ import annotations

from typing import Any

import pytest
import toml
from hypothesis import given, settings
from hypothesis import strategies as st

from lorakit.catalogue.options import Option
from lorakit.recipe.values import fit
from lorakit.toml_text import value_text

WHOLE, NUMBER, FLAG, TEXT = (
    Option("n", "int"),
    Option("x", "float"),
    Option("b", "bool"),
    Option("s", "str"),
)
STEPS = Option("lr_warmup_steps", "number")
CHOICE = Option("mixed_precision", "str", choices=("no", "fp16", "bf16"))
RATES = Option("text_encoder_lr", "float", many=True)
ARGS = Option("network_args", "str", many=True)
SIZE = Option("resolution", "str")


@pytest.mark.parametrize(
    ("option", "value", "fitted"),
    [
        (WHOLE, 3, 3),
        (NUMBER, 3, 3.0),
        (WHOLE, 16.0, 16),
        (Option("n", "str", choices=("a", None)), "", ""),
        (Option("n", "str", many=True), "", []),
        (Option("max_token_length", "int", choices=(None, 150, 225)), 75, 75),
        (Option("dynamo_backend", "str", choices=("eager",), default="inductor"), "no", "no"),
        (NUMBER, 1e-4, 1e-4),
        (FLAG, True, True),
        (TEXT, "a", "a"),
        (CHOICE, "bf16", "bf16"),
        (STEPS, 100, 100),
        (STEPS, 0.1, 0.1),
        (RATES, [1e-5, 0], [1e-5, 0.0]),
        (RATES, 1, [1.0]),
        (ARGS, ["a=1"], ["a=1"]),
        (SIZE, "512", "512"),
        (SIZE, "512, 768", "512,768"),
        (SIZE, 1024, "1024"),
        (SIZE, [512, 768], "512,768"),
    ],
)
def test_what_fits_is_kept_or_converted(option: Option, value: Any, fitted: Any) -> None:
    result = fit(option, value)
    assert not result.problem
    assert result.value == fitted
    assert type(result.value) is type(fitted)


def test_warm_up_steps_with_a_decimal_point_are_no_steps() -> None:
    assert "is read as a share of the run" in fit(STEPS, 100.0).problem


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        (WHOLE, 3.5, ""),
        (WHOLE, "16", "Write n = 16."),
        (WHOLE, True, ""),
        (NUMBER, "1e-4", "Write x = 1e-4."),
        (NUMBER, "fast", ""),
        (NUMBER, float("nan"), ""),
        (NUMBER, float("inf"), ""),
        (FLAG, "true", "Write b = true."),
        (FLAG, "False", "Write b = false."),
        (FLAG, 1, "Write b = true."),
        (FLAG, "yes", "Write b = true."),
        (FLAG, "Off", "Write b = false."),
        (FLAG, "maybe", ""),
        (FLAG, 0, "Write b = false."),
        (TEXT, 5, 'Write s = "5".'),
        (CHOICE, "bf61", "Did you mean bf16?"),
        (CHOICE, "quick", ""),
        (STEPS, "10%", "Write lr_warmup_steps = 0.1."),
        (STEPS, 100.0, "Write lr_warmup_steps = 100 for steps."),
        (ARGS, "conv_dim=4", 'Write network_args = ["conv_dim=4"].'),
        (ARGS, ["a", 3], ""),
        (NUMBER, [1.0], "Write x = 1.0."),
        (SIZE, "512x768", 'Write resolution = "512,768".'),
        (SIZE, "512.0", ""),
        (SIZE, "a,b", ""),
        (SIZE, [1, 2, 3], ""),
        (SIZE, 0, ""),
        (Option("env", "table"), "A=1", ""),
        (Option("env", "table"), [1], ""),
        (WHOLE, 2**63, ""),
        (NUMBER, -(10**400), ""),
        (SIZE, 100_000, ""),
    ],
)
def test_what_does_not_fit_is_refused_with_the_right_spelling(
    option: Option, value: Any, hint: str
) -> None:
    result = fit(option, value)
    assert result.problem
    assert result.hint == hint


def test_a_choice_that_is_none_is_refused_with_those_there_are() -> None:
    found = fit(Option("save_precision", "str", choices=(None, "float", "fp16", "bf16")), "fp32")
    assert (found.problem, found.hint) == ('"fp32" is not one of float, fp16, bf16.', "")


plain = st.one_of(
    st.text(max_size=20),
    st.integers(-(10**9), 10**9),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(), max_size=3),
    st.none().map(lambda _: {}),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.sampled_from([WHOLE, NUMBER, FLAG, TEXT, STEPS, CHOICE, RATES, ARGS, SIZE]), plain)
def test_any_value_fits_or_is_refused_and_a_fitted_one_fits_again(
    option: Option, value: Any
) -> None:
    result = fit(option, value)
    if not result.problem:
        assert fit(option, result.value) == result


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6)), min_size=1, max_size=4)
)
def test_a_fitted_list_of_numbers_is_one_that_the_scripts_toml_library_takes(
    values: list[float],
) -> None:
    fitted = fit(RATES, values).value
    assert toml.loads(toml.dumps({"rates": fitted}))["rates"] == fitted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        ('a"b', '"a\\"b"'),
        ([1, "a"], '[1, "a"]'),
        ({"A": "1"}, '{ A = "1" }'),
        (1e-4, "0.0001"),
        ("a\\b", '"a\\\\b"'),
    ],
)
def test_values_are_told_as_toml_writes_them(value: Any, text: str) -> None:
    assert value_text(value) == text
