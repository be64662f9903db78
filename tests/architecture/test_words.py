"""No file holds a note to self, a path of one machine, an address of a registry, or an exception without a reason."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each needle is written so that it does not find itself.
NOTES_TO_SELF = re.compile(r"\b(?:TO[D]O|FIX[M]E)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.)~-])/(?:w[o]rk|r[o]ot)/")
REGISTRIES = re.compile(r"\b(?:pypi|pythonhosted|npmjs|yarnpkg|deb\.debian|golang|crates|anaconda)\.(?:org|com|io)\b")
SILENT_EXCEPTIONS = re.compile(
    r"#\s*(?:no[q]a|type:\s*ign[o]re|pragma:\s*no\s*c[o]ver)(?::[\sA-Z0-9,]*)?\s*(?:\[[\w, -]*\])?\s*$"
)


def project_files() -> list[Path]:
    """Return every file that is tracked or about to be."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so nothing says which files belong to the project")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return [ROOT / name for name in sorted(set(listed.stdout.split("\0"))) if name and (ROOT / name).is_file()]


def places(needle: re.Pattern[str], files: list[Path]) -> list[str]:
    """Return `path:line: text` for each line that the needle finds; files that are not text hold none."""
    found = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if needle.search(line)
        ]
    return found


@pytest.mark.parametrize(
    "needle", [NOTES_TO_SELF, MACHINE_PATHS, REGISTRIES], ids=["note to self", "machine path", "registry"]
)
def test_no_file_holds_words_that_belong_elsewhere(needle):
    assert places(needle, project_files()) == []


def test_every_lint_exception_carries_its_reason_on_the_same_line():
    sources = [file for file in project_files() if file.suffix == ".py"]

    assert places(SILENT_EXCEPTIONS, sources) == []


@pytest.mark.parametrize(
    ("line", "is_silent"),
    [
        ("x = 1  # no~qa", True),
        ("x = 1  # no~qa: BLE001", True),
        ("x = 1  # no~qa: BLE001, E501", True),
        ("x = 1  # no~qa: BLE001 - a worker outlives every task", False),
        ("x = 1  # type: ign~ore[arg-type]", True),
        ("x = 1  # type: ign~ore[arg-type]  # the stub forgets None", False),
        ("x = 1  # pragma: no c~over", True),
        ("x = 1  # pragma: no c~over: only on Windows", False),
    ],
)
def test_a_bare_exception_is_told_from_one_with_a_reason(line, is_silent):
    assert bool(SILENT_EXCEPTIONS.search(line.replace("~", ""))) is is_silent


@pytest.mark.parametrize(
    ("line", "is_a_path"),
    [
        ("open('/wo~rk/main')", True),
        ("file:///ro~ot/x", True),
        ("postgresql://db/work", False),
        ("src/wo~rk/x.py", False),
    ],
)
def test_a_machine_path_is_told_from_the_end_of_an_address(line, is_a_path):
    assert bool(MACHINE_PATHS.search(line.replace("~", ""))) is is_a_path
