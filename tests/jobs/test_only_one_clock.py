"""The database's clock decides; `now` is a parameter of the store for tests alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import millhand

SOURCE = Path(next(iter(millhand.__path__)))
STORES = ("jobs/sqlite", "jobs/postgres")
TIMED = {"enqueue", "claim", "finish", "release", "renew", "reconcile", "rescue", "cancel", "announce", "retire"}


def calls_with_a_time_of_their_own(text: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr not in TIMED:
            continue
        if any(keyword.arg in {"now", None} for keyword in node.keywords):  # None: **options, which may hide one
            yield node


def test_product_code_never_tells_a_store_the_time() -> None:
    found = [
        f"{file.relative_to(SOURCE)}:{call.lineno}"
        for file in sorted(SOURCE.rglob("*.py"))
        if not file.relative_to(SOURCE).as_posix().startswith(STORES)
        for call in calls_with_a_time_of_their_own(file.read_text())
    ]

    assert found == []


def test_the_look_finds_what_it_looks_for() -> None:
    guilty = "store.claims.claim('r', room=1, types=[], now=5)\nstore.control.cancel(id, **options)\n"
    innocent = "store.claims.claim('r', room=1, types=[])\nduty.step(now=5)\nclock.now()\n"

    assert len(list(calls_with_a_time_of_their_own(guilty))) == 2
    assert list(calls_with_a_time_of_their_own(innocent)) == []
