"""The programs in the README and on the pool's pages run, and print what stands behind their prints."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from tests.architecture.test_docs import programs

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    *(f"docs/reference/{page}.md" for page in ("pool", "processes", "flow", "drop-in", "policies")),
]
SHOWN = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)

PROGRAMS = [(page, line, code) for page in PAGES for line, code in programs((ROOT / page).read_text())]


@pytest.mark.parametrize(("page", "line", "code"), PROGRAMS, ids=[f"{page}:{line}" for page, line, _ in PROGRAMS])
def test_a_program_prints_what_it_shows(page, line, code, tmp_path, monkeypatch, capsys):
    script = tmp_path / f"line_{line}.py"
    script.write_text(code)
    monkeypatch.chdir(tmp_path)

    runpy.run_path(str(script), run_name="__main__")

    assert [printed.rstrip() for printed in capsys.readouterr().out.splitlines()] == SHOWN.findall(code)


def test_the_readme_shows_a_pool_by_line_25_and_a_kept_job_by_line_45():
    pool, kept = [(line, code) for page, line, code in PROGRAMS if page == "README.md"][:2]

    assert "ThreadPool" in pool[1]
    assert pool[0] + pool[1].count("\n") <= 25
    assert "Jobs" in kept[1]
    assert kept[0] + kept[1].count("\n") <= 45
