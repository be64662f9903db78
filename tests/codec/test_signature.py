"""A call's arguments to JSON and back: bound to names, checked by annotation, the same at the other end."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millhand.codec import FunctionSignature, is_pattern
from millhand.core import BadArguments

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)


def round_trip(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    """Bind a call, and return what the function would be called with at the other end."""
    signature = FunctionSignature(function, "job")
    return signature.decode(signature.bind(args, kwargs))


def call(function: Callable[..., Any], payload: bytes | str | None) -> Any:
    """Check a payload as a server does, and call the function with it as a runner does."""
    signature = FunctionSignature(function, "job")
    args, kwargs = signature.decode(signature.check(payload))
    return function(*args, **kwargs)


def fault(function: Callable[..., Any], payload: bytes | str | None) -> BadArguments:
    with pytest.raises(BadArguments) as caught:
        FunctionSignature(function, "job").check(payload)
    return caught.value


def resize(image: str, width: int, height: int = 10, *, keep: bool = False) -> tuple[Any, ...]:
    return image, width, height, keep


def anything(**options: Any) -> dict[str, Any]:
    return options


def nothing() -> str:
    return "called"


# ── Round trips ──────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=50)
@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_keyword_arguments_come_back_as_they_were(options: dict[str, Any]) -> None:
    assert round_trip(anything, **options) == ([], options)


@given(json_values, json_values)
def test_values_without_annotation_come_back_as_they_were(first: Any, second: Any) -> None:
    def function(a: Any, b=None) -> tuple[Any, Any]:
        return a, b

    assert round_trip(function, first, b=second) == ([], {"a": first, "b": second})


@given(st.text(), st.integers(), st.booleans())
def test_how_an_argument_was_passed_makes_no_difference(image: str, width: int, keep: bool) -> None:
    signature = FunctionSignature(resize, "job")

    payloads = {
        signature.bind((image, width), {"keep": keep}),
        signature.bind((), {"keep": keep, "width": width, "image": image}),
    }

    assert len(payloads) == 1


@settings(max_examples=50)
@given(st.lists(json_values, max_size=3))
def test_an_array_is_positional_arguments(values: list[Any]) -> None:
    def function(a: Any = 0, b: Any = 0, c: Any = 0) -> list[Any]:
        return [a, b, c]

    assert call(function, msgspec.json.encode(values)) == values + [0] * (3 - len(values))


@pytest.mark.parametrize("payload", [None, "", "null", b"null", " null ", "{}", "[]", " \n{ }\t"])
def test_no_payload_is_no_arguments(payload: bytes | str | None) -> None:
    assert call(nothing, payload) == "called"


def test_what_is_stored_is_always_an_object() -> None:
    signature = FunctionSignature(resize, "job")

    assert signature.check('["cat.jpg", 3]') == '{"image":"cat.jpg","width":3}'
    assert signature.check(None if signature.name != "job" else '{"image":"a","width":1}') == '{"image":"a","width":1}'
    assert FunctionSignature(nothing, "job").check(None) == "{}"


def test_a_default_is_applied_when_the_function_is_called() -> None:
    """So a later version of the function may change it, also for jobs that wait already."""
    assert FunctionSignature(resize, "job").bind(("a", 1), {}) == '{"image":"a","width":1}'
    assert round_trip(resize, "a", 1) == ([], {"image": "a", "width": 1})


def test_null_is_a_value_and_not_a_missing_argument() -> None:
    def function(a: int | None, b: int | None = 5) -> tuple[Any, Any]:
        return a, b

    assert call(function, '{"a":null}') == (None, 5)
    assert call(function, '{"a":null,"b":null}') == (None, None)


def test_positional_only_arguments_are_passed_by_position() -> None:
    def function(a: int, /, b: int) -> tuple[int, int]:
        return a, b

    assert round_trip(function, 1, 2) == ([1], {"b": 2})
    assert call(function, '{"b":2,"a":1}') == (1, 2)
    assert call(function, "[1,2]") == (1, 2)


def test_a_left_out_positional_only_argument_does_not_move_the_next_one_to_its_place() -> None:
    def function(a: int = 1, b: int = 2, /) -> tuple[int, int]:
        return a, b

    try:
        outcome = call(function, '{"b":9}')
    except BadArguments:
        return  # refusing is as good: Python itself has no way to say this call

    assert outcome == (1, 9)


def test_further_keyword_arguments_are_passed_on() -> None:
    def function(a: int, **more: Any) -> tuple[int, dict[str, Any]]:
        return a, more

    assert round_trip(function, 1, x=2, y=[3]) == ([], {"a": 1, "x": 2, "y": [3]})
    assert call(function, '{"a":1,"x":{"y":2}}') == (1, {"x": {"y": 2}})
    assert call(function, "[1]") == (1, {})


def test_a_further_keyword_argument_may_be_called_like_a_positional_only_one() -> None:
    """Python allows it: `f(1, a=2)`. Either both values arrive, or it is refused; never one in place of the other."""

    def function(a: int, /, **more: Any) -> tuple[int, dict[str, Any]]:
        return a, more

    signature = FunctionSignature(function, "job")
    try:
        args, kwargs = signature.decode(signature.bind((1,), {"a": 2}))
    except BadArguments:
        return

    assert function(*args, **kwargs) == (1, {"a": 2})


# ── Annotations ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Box:
    width: int
    tags: list[str]


class Point(msgspec.Struct):
    x: float
    y: float = 0.0


class Color(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Path, Path("a/b")),
        (Path | None, Path("a")),
        (list[Path], [Path("a"), Path("b")]),
        (Box, Box(3, ["x"])),
        (list[Box], [Box(1, []), Box(2, ["y"])]),
        (Point, Point(1.5, 2.0)),
        (dict[str, Point], {"p": Point(1.0)}),
        (Color, Color.RED),
        (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        (UUID, UUID(int=7)),
        (bytes, b"\x00\xff"),
        (set[int], {1, 2}),
        (tuple[int, str], (1, "a")),
        (int | str, "x"),
        (Literal["a", "b"], "b"),
        (Annotated[int, msgspec.Meta(ge=0)], 3),
        (int, 10**40),
        (None, None),
    ],
    ids=str,
)
def test_an_annotated_value_comes_back_as_its_own_type(annotation: Any, value: Any) -> None:
    def required(a):
        return a

    def optional(a=None):
        return a

    for function in (required, optional):
        function.__annotations__ = {"a": annotation}
        assert round_trip(function, value) == ([], {"a": value})


@pytest.mark.parametrize(
    "annotation",
    [threading.Lock, threading.Thread, object.__class__, complex, Callable[[], int], Iterator[int]],
    ids=str,
)
def test_an_annotation_that_json_cannot_carry_is_refused_at_registration(annotation: Any) -> None:
    def function(a):
        return a

    function.__annotations__ = {"a": annotation}

    with pytest.raises(TypeError, match="job"):
        FunctionSignature(function, "job")


def test_a_union_that_json_cannot_tell_apart_is_refused_at_registration() -> None:
    def function(a: str | Path) -> None: ...

    with pytest.raises(TypeError, match="job has an argument that JSON cannot carry"):
        FunctionSignature(function, "job")


def test_an_annotation_that_means_nothing_is_refused_at_registration() -> None:
    def function(a: Any) -> None: ...

    function.__annotations__ = {"a": "Nowhere"}

    with pytest.raises(TypeError, match="Nowhere"):
        FunctionSignature(function, "job")


def test_a_list_of_arguments_without_names_is_refused_at_registration() -> None:
    def function(*args: int) -> None: ...

    with pytest.raises(TypeError, match=r"job takes \*args"):
        FunctionSignature(function, "job")


class Sender:
    """Something callable that is no function."""

    def __init__(self, host: int = 1) -> None:
        self.host = host

    def __call__(self, to: int) -> int:
        return to

    def send(self, to: int) -> int:
        return to


@functools.wraps(resize)
def decorated(*args: Any, **kwargs: Any) -> Any:
    return resize(*args, **kwargs)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (Sender().send, "to"),
        (Sender(), "to"),
        (Sender, "host"),
        (functools.partial(Sender().send), "to"),
        (decorated, "width"),
    ],
    ids=["method", "callable object", "class", "partial", "decorated"],
)
def test_any_callable_is_checked_by_its_annotations(function: Callable[..., Any], name: str) -> None:
    wrong = {"image": "a", name: "x"} if name == "width" else {name: "x"}

    assert fault(function, msgspec.json.encode(wrong)).path == f"$.{name}"


# ── Faults ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def draw(boxes: list[Box], at: Point, file: Path, color: Color = Color.RED) -> None: ...


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"at": {"x": "left"}}, "$.at.x"),
        ({"at": {}}, "$.at"),
        ({"boxes": [{"width": 1, "tags": []}, {"width": "wide", "tags": []}]}, "$.boxes[1].width"),
        ({"boxes": [{"width": 1, "tags": ["a", 2]}]}, "$.boxes[0].tags[1]"),
        ({"boxes": 1}, "$.boxes"),
        ({"file": 3}, "$.file"),
        ({"color": "blue"}, "$.color"),
    ],
)
def test_a_fault_is_told_with_the_path_to_it(change: dict[str, Any], path: str) -> None:
    good = {"boxes": [], "at": {"x": 1.0}, "file": "a"}

    error = fault(draw, msgspec.json.encode(good | change))

    assert (error.type, error.path) == ("job", path)
    assert path in str(error)


def test_arguments_too_few_too_many_or_unknown_are_refused() -> None:
    assert "width" in fault(resize, '{"image":"a"}').reason
    assert "width" in fault(resize, '["a"]').reason
    assert "takes 3 positional arguments, got 4" in fault(resize, '["a",1,2,true]').reason
    assert "wide" in fault(resize, '{"image":"a","width":1,"wide":2}').reason


def test_an_argument_for_a_function_without_any_is_refused() -> None:
    assert "got 1" in fault(nothing, "[1]").reason
    assert "`a`" in fault(nothing, '{"a":1}').reason


@pytest.mark.parametrize(
    "payload", ['"text"', "3", "true", "nonsense", "{", "[1", "[1,]", '{"a":1} x', '{"a":}', "[1] x"]
)
def test_a_payload_that_is_no_json_object_or_array_is_refused(payload: str) -> None:
    assert fault(anything, payload).path == "$"


@pytest.mark.parametrize(
    "payload",
    [b'{"a":"\xff"}', b"\xff", b'{"\xff":1}', b'["\xff"]', '{"a":"\udcff"}', r'{"a":"\ud800"}'],
    ids=["in a value", "alone", "in a name", "in an array", "text that is no unicode", "half a pair"],
)
@pytest.mark.parametrize("function", [anything, resize])
def test_a_payload_that_is_no_unicode_is_refused(function: Callable[..., Any], payload: bytes | str) -> None:
    fault(function, payload)


@pytest.mark.parametrize("function", [anything, resize])
@pytest.mark.parametrize("payload", ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000])
def test_a_payload_nested_beyond_measure_is_refused(function: Callable[..., Any], payload: str) -> None:
    fault(function, payload)


@given(st.binary() | st.text(alphabet='{}[]",:ab0\\ue"').map(str.encode))
def test_whatever_comes_in_is_taken_or_refused_as_bad_arguments(payload: bytes) -> None:
    signature = FunctionSignature(anything, "job")
    try:
        stored = signature.check(payload)
    except BadArguments:
        return
    assert signature.decode(stored)[0] == []


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        (("a",), {}),
        (("a", 1, 2, True), {}),
        (("a", 1), {"image": "b"}),
        (("a", 1), {"wide": 1}),
        ((1, 1), {}),
    ],
)
def test_a_call_that_python_or_an_annotation_refuses_is_refused(args: Any, kwargs: Any) -> None:
    with pytest.raises(BadArguments):
        FunctionSignature(resize, "job").bind(args, kwargs)


@pytest.mark.parametrize(
    "value", [object(), threading.Lock(), lambda: None, "\udcff", float("nan"), float("inf")], ids=repr
)
def test_an_argument_that_json_cannot_carry_is_refused(value: Any) -> None:
    def function(a: Any) -> None: ...

    with pytest.raises(BadArguments):
        FunctionSignature(function, "job").bind((value,), {})


def test_an_argument_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(BadArguments):
        FunctionSignature(anything, "job").bind((), {"a": endless})


def test_a_payload_that_no_longer_fits_the_function_is_refused_when_it_is_to_run() -> None:
    def older(a: int, b: int) -> None: ...

    def newer(a: str) -> None: ...

    stored = FunctionSignature(older, "job").bind((1, 2), {})

    with pytest.raises(BadArguments):
        FunctionSignature(newer, "job").decode(stored)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("job-*", True), ("job-?", True), ("job-[ab]", True), ("job", False), ("a.b-c_d", False), ("", False)],
)
def test_a_pattern_is_told_from_a_name(name: str, is_one: bool) -> None:
    assert is_pattern(name) is is_one
