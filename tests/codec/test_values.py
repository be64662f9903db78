"""Single values to JSON and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millhand.codec import decode_value, encode_value

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(values)
def test_plain_data_comes_back_as_it_was(value: Any) -> None:
    assert decode_value(encode_value(value)) == value


@dataclass
class Box:
    width: int
    file: Path


def test_a_dataclass_a_path_and_a_tuple_are_written_as_what_json_has() -> None:
    assert encode_value((Box(3, Path("a/b")),)) == '[{"width":3,"file":"a/b"}]'


@pytest.mark.parametrize(
    "value", [object(), [object()], {"a": {1: object()}}, lambda: None, 1j, Exception("x")], ids=repr
)
def test_what_json_cannot_carry_is_refused_by_its_type(value: Any) -> None:
    with pytest.raises(TypeError):
        encode_value(value)


def test_the_refusal_names_the_type() -> None:
    with pytest.raises(TypeError, match="a complex cannot be kept"):
        encode_value([1j])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [math.nan], {"a": math.inf}], ids=repr)
def test_a_number_that_json_has_no_word_for_is_refused_and_does_not_become_null(value: Any) -> None:
    with pytest.raises(TypeError):
        encode_value(value)


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(TypeError):
        encode_value("\udcff")


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(TypeError):
        encode_value(endless)
