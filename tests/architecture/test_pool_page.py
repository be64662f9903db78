"""docs/reference/pool.md names all that a pool can be told, asked and raise, and nothing that does not exist."""

from __future__ import annotations

import ast
import builtins
import concurrent.futures
import dataclasses
import inspect
import pickle
import re
from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool
from pathlib import Path
from typing import get_args

import pytest

import millhand
import millhand.pool
from millhand import CoroutinePool, PoolStats, ProcessPool, ThreadPool
from millhand.core.events import Event
from millhand.pool.options import WhenFull
from millhand.pool.order import OrderName
from tests.contract.test_cpython import MAY_FAIL, SKIPS

PAGES = Path(__file__).parents[2] / "docs" / "reference"
POOL_PAGE = (PAGES / "pool.md").read_text()
PROCESS_PAGE = (PAGES / "processes.md").read_text()
OF_OTHERS = {
    "BrokenProcessPool": BrokenProcessPool,
    "BrokenThreadPool": BrokenThreadPool,
    "CancelledError": concurrent.futures.CancelledError,
    "PicklingError": pickle.PicklingError,
}


def section(page: str, title: str) -> str:
    """Return the text below a heading, up to the next one of any level."""
    return page.partition(f"# {title}\n")[2].partition("\n#")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row of a section's tables, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {number - 1 for number, line in enumerate(lines) if set(line) <= set("|- ")}
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for number, line in enumerate(lines)
        if number not in heads and number - 1 not in heads
    ]


def named(text: str) -> list[str]:
    """Return what each row is about: its first cell, without the quotes of a string."""
    return [row[0].strip("`").strip('"') for row in rows(text)]


def defaults_of(function: object) -> Mapping[str, object]:
    """Return the default of each argument."""
    parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]  # whatever can be called
    return {each.name: each.default for each in parameters if each.name != "self"}


def defaults_in(text: str, column: int) -> Mapping[str, object]:
    """Return the default that each row shows in a column, "–" standing for an argument that is not there."""
    return {
        row[0].strip("`"): ast.literal_eval(row[column].strip("`"))
        for row in rows(text)
        if row[column].strip("`") != "–"
    }


@pytest.mark.parametrize(("pool", "column"), [(ThreadPool, 1), (CoroutinePool, 2)])
def test_every_argument_of_a_pool_stands_there_with_its_default_and_no_other(pool, column):
    assert defaults_in(section(POOL_PAGE, "Arguments"), column) == defaults_of(pool)


def test_every_argument_of_a_pool_of_processes_stands_on_its_page_with_its_default_and_no_other():
    assert defaults_in(section(PROCESS_PAGE, "Arguments"), 1) == defaults_of(ProcessPool)


def test_every_option_of_a_call_stands_there_with_its_default_and_no_other():
    assert defaults_in(section(POOL_PAGE, "Options of a call"), 1) == defaults_of(ThreadPool.with_options)


def test_every_argument_of_a_sub_pool_is_named():
    wanted = set(defaults_of(ThreadPool.subpool)) - {"max_workers"}

    assert wanted <= set(re.findall(r"`(\w+)`", section(POOL_PAGE, "Sub-pools")))


@pytest.mark.parametrize("method", ["map", "amap"])
def test_the_signatures_of_the_maps_are_those_of_the_code(method):
    shown = re.search(rf"`pool\.{method}\((.*?)\)`", section(POOL_PAGE, "Many items: map and amap"))
    wanted = {name: value for name, value in defaults_of(getattr(ThreadPool, method)).items() if name != "fn"}
    del wanted["iterables"]

    assert shown is not None
    assert dict(pair.split("=") for pair in shown[1].split(", ")[2:]) == {k: repr(v) for k, v in wanted.items()}


@pytest.mark.parametrize(
    ("title", "wanted"),
    [
        ("A full queue", get_args(WhenFull)),
        ("Orders", get_args(OrderName)),
        ("Stats", [field.name for field in dataclasses.fields(PoolStats)]),
        ("Events", [event.__name__ for event in get_args(Event)]),
    ],
)
def test_every_one_stands_there_once_and_no_other(title, wanted):
    assert sorted(named(section(POOL_PAGE, title))) == sorted(wanted)


def test_every_event_stands_there_with_its_fields():
    shown = {row[0].strip("`"): re.findall(r"\w+", row[1]) for row in rows(section(POOL_PAGE, "Events"))}

    assert shown == {event.__name__: [field.name for field in dataclasses.fields(event)] for event in get_args(Event)}


def test_every_error_of_the_pool_stands_there_and_no_other():
    public = {name: getattr(millhand, name) for name in millhand.__all__}
    ours = {name for name, each in public.items() if isinstance(each, type) and issubclass(each, BaseException)} - {
        "MillhandError"
    }

    assert sorted(named(section(POOL_PAGE, "Errors"))) == sorted((ours | OF_OTHERS.keys()) - {"PicklingError"})


def test_every_error_is_what_the_page_says_that_it_is_also():
    shown = {row[0].strip("`"): row[1].strip("`") for row in rows(section(POOL_PAGE, "Errors"))}
    kinds = {name: OF_OTHERS.get(name) or getattr(millhand, name) for name in shown}
    wrong = [
        name
        for name, also in shown.items()
        if also and not issubclass(kinds[name], getattr(builtins, also, None) or OF_OTHERS[also])
    ]

    assert wrong == []


def test_every_public_method_of_a_pool_is_named():
    ours = {name for name in vars(millhand.pool.Pool) | vars(ThreadPool) if not name.startswith("_")}

    assert sorted(name for name in ours if not re.search(rf"\b{name}\b", POOL_PAGE)) == []


def test_every_link_leads_to_a_heading_or_a_file():
    anchors = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", POOL_PAGE, re.MULTILINE)
    }
    broken = [
        target
        for target in re.findall(r"\]\(([^)]+)\)", POOL_PAGE)
        if not (target[1:] in anchors if target.startswith("#") else (PAGES / target).exists())
    ]

    assert broken == []


def test_what_cpythons_suite_does_not_pass_is_published():
    shown = named(section((PAGES / "drop-in.md").read_text(), "CPython's tests that do not pass"))

    assert shown == (sorted(SKIPS["ThreadPool"]) or ["none"])


def test_what_cpythons_suite_does_not_pass_of_process_pools_is_published():
    page = (PAGES / "drop-in.md").read_text()
    shown = re.findall(r"`(test_\w+)`", section(page, "CPython's tests of process pools that do not pass"))

    assert sorted(shown) == sorted({name.partition(".")[2] for name in SKIPS["ProcessPool"] | MAY_FAIL})


def test_every_name_of_the_pool_package_stands_on_the_page_of_names():
    page = section((PAGES / "python.md").read_text(), "millhand.pool")
    names = {name for row in rows(page) for name in re.findall(r"`(\w+)`", row[0])}

    assert names == set(millhand.pool.__all__)


def test_a_row_is_told_from_the_head_of_its_table():
    text = '| name | what |\n|---|---|\n| `a` | b |\n\n| other | what |\n|---|---|\n| `"c"` | d |\n'

    assert named(text) == ["a", "c"]
