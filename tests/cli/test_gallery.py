"""`millhand examples`: listing, running and checking from a shell."""

from __future__ import annotations

import json

import pytest
import typer.testing

import millhand.cli.gallery
from millhand.cli.main import app
from millhand.examples.gallery import GALLERY, SECTIONS, Finished


def millhand_examples(*arguments, code=0):
    result = typer.testing.CliRunner().invoke(app, ["examples", *arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def one_fails(monkeypatch):
    """Run nothing: all examples have succeeded, but one."""

    def run(example, *, keep):
        ok = example.title != "group"
        return Finished(example.name, 0.25, ok, ["said"], "" if ok else "no such thing\n")

    monkeypatch.setattr(millhand.cli.gallery, "run", run)


@pytest.mark.parametrize("arguments", [[], ["--list"], ["basic", "--list"]])
def test_the_list_names_every_example_and_what_it_shows(arguments):
    said = millhand_examples(*arguments).stdout

    assert [example.name for example in GALLERY if example.name not in said or example.summary not in said] == []


def test_the_list_for_programs_is_one_object_for_each():
    listed = [json.loads(line) for line in millhand_examples("--list", "--json").stdout.splitlines()]

    assert listed == [{"name": example.name, "summary": example.summary} for example in GALLERY]


@pytest.mark.slow
def test_a_section_is_run_one_example_after_the_other():
    told = [json.loads(line) for line in millhand_examples("advanced", "--json").stdout.splitlines()]

    assert [end["name"] for end in told] == [f"advanced/{title}" for title in SECTIONS["advanced"]]
    assert all(end["ok"] and end["seconds"] > 0 and end["lines"] for end in told)
    assert all(end.keys() == {"name", "seconds", "ok", "lines"} for end in told)


@pytest.mark.slow
def test_what_an_example_prints_goes_straight_through(capfd):
    said = millhand_examples("basic/priority").stdout

    assert "ran: fire, alarm, report, mail, backup\n" in capfd.readouterr().out
    assert said.startswith("── basic/priority: Some calls run before others")


def test_one_that_fails_stops_no_other_and_is_named(one_fails):
    result = millhand_examples("advanced", code=1)

    assert result.stderr == "millhand: failed: advanced/group\n"
    assert f"── {len(SECTIONS['advanced'])} examples in 1.8 s, 1 failed" in result.stdout


def test_programs_are_told_why_one_failed(one_fails):
    told = [json.loads(line) for line in millhand_examples("advanced", "--json", code=1).stdout.splitlines()]

    assert {end["name"]: end["error"] for end in told if not end["ok"]} == {"advanced/group": "no such thing\n"}
    assert len(told) == len(SECTIONS["advanced"])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["no_such"], "there is no example 'no_such'"),
        (["basic", "--check", "mine.py"], "basic has no checks; write millhand examples exercises --check mine.py"),
        (["exercises", "--check", "nowhere.py"], "there is no file nowhere.py"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(arguments, why):
    said = millhand_examples(*arguments, code=2).stderr

    assert said.startswith(f"millhand: {why}")
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_a_solution_is_checked_and_told_what_it_lacks(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("def sort_outcomes(work, items):\n    return {item: int(item) for item in '135'}, {}\n")

    said = millhand_examples("exercises", "--check", str(mine), code=1).stdout.splitlines()

    assert said[0] == "ok       error_handling: Every good call's result is there"
    assert said[1] == "not yet  error_handling: Every bad call's exception is there, itself and not its text"
    assert said[2] == "         'two' and '' are no numbers; errors came for []"
    assert said[-1] == "3 checks, 2 not passed yet"


@pytest.mark.slow
def test_a_checked_solution_is_told_to_programs_line_by_line(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("def as_they_come(work, items):\n    yield from ((item, len(item)) for item in items)\n")

    told = [json.loads(line) for line in millhand_examples("--check", str(mine), "--json").stdout.splitlines()]

    assert [(verdict["exercise"], verdict["ok"]) for verdict in told] == [("results", True)] * 2
