"""What a package calls public is in its `__all__`, once, in order, and is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
PACKAGES = sorted(
    ".".join(path.parent.relative_to(SOURCE).parts)
    for path in (SOURCE / "millhand").rglob("__init__.py")
    if not any(part.startswith("_") for part in path.parent.relative_to(SOURCE).parts)
)


def order(name: str) -> tuple[int, list[str | int]]:
    """Sort as ruff does (RUF022): constants, classes, the rest; numbers inside names by value."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    return kind, [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_package_lists_its_public_names(package):
    assert hasattr(importlib.import_module(package), "__all__")


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_and_stand_once_and_in_order(package):
    module = importlib.import_module(package)
    names = list(getattr(module, "__all__", []))

    assert [name for name in names if not hasattr(module, name)] == []
    assert names == sorted(set(names), key=order)


@pytest.mark.parametrize(
    "package", ["millhand", "millhand.flow", "millhand.jobs", "millhand.runner", "millhand.server"]
)
def test_every_public_name_stands_on_the_reference_page_and_no_other(package):
    page = (SOURCE.parent / "docs" / "reference" / "python.md").read_text()
    section = re.search(rf"^## {re.escape(package)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    named = {
        name for row in re.findall(r"^\| (`.*?`) \|", section[1], re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }

    assert named == set(importlib.import_module(package).__all__)
