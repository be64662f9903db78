"""Finding the `Jobs` that `module:attribute` names."""

from __future__ import annotations

import itertools
import sys

import pytest

from millhand.cli.target import DEMO, TargetError, load_target
from millhand.jobs import Jobs

names = (f"program_{number}" for number in itertools.count())


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return what writes a program into the working directory, under a name that was never imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(content):
        name = next(names)
        (tmp_path / f"{name}.py").write_text(content)
        return name

    return write


def test_the_demo_jobs_are_there():
    jobs = load_target(DEMO)

    assert set(jobs.registry.names) >= {
        "echo",
        "sleep",
        "fail",
        "job-*",
        "word_count",
        "hash_file",
        "thumbnail",
        "fetch",
    }


@pytest.mark.parametrize("attribute", ["jobs", "mine"])
def test_an_attribute_of_a_module_in_the_working_directory_is_found(program, attribute):
    name = program(f"from millhand.jobs import Jobs\n{attribute} = Jobs('sqlite:///here.db')\n")

    found = load_target(f"{name}:{attribute}")

    assert isinstance(found, Jobs)
    assert found.url == "sqlite:///here.db"


def test_without_an_attribute_it_is_called_jobs(program):
    name = program("from millhand.jobs import Jobs\njobs = Jobs('sqlite://')\n")

    assert load_target(name) is load_target(f"{name}:jobs")


@pytest.mark.parametrize(
    ("content", "attribute", "why"),
    [
        ("raise RuntimeError('no key')", "", "fails on import: RuntimeError: no key"),
        ("import nothing_like_this", "", "No module named 'nothing_like_this'"),
        ("def broken(:", "", "fails on import: SyntaxError"),
        ("raise SystemExit('set API_KEY')", "", "set API_KEY"),
        ("jobs = 3", "", "has no Jobs named 'jobs'"),
        ("", ":mine", "has no Jobs named 'mine'"),
    ],
)
def test_what_is_wrong_with_a_program_is_said(program, content, attribute, why):
    name = program(content)

    with pytest.raises(TargetError, match=why) as caught:
        load_target(name + attribute)

    assert name in str(caught.value)


@pytest.mark.parametrize("target", ["", ":jobs", "no.such.module:jobs", ".relative"])
def test_a_target_that_names_no_module_is_refused(target):
    with pytest.raises(TargetError):
        load_target(target)
