"""Every setting, command and route stands in docs/reference/service.md, and nothing else does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
from starlette.routing import Route

import millhand.server
from millhand.cli.main import app
from millhand.cli.settings import SETTINGS
from millhand.jobs import Jobs

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "service.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
COMMANDS = typer.main.get_command(app).commands


def rows(section):
    """Return the cells of each line of a section's first table."""
    lines = [line for line in SECTIONS[section].split("\n\n| status")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def routes():
    """Return all routes, as `POST /jobs`."""
    jobs = Jobs("sqlite://")
    built = millhand.server.build_app(jobs)
    tables = [value.routes for value in vars(built).values() if hasattr(value, "routes")]
    assert len(tables) == 1, "where the app keeps its router has changed; tell this test"
    jobs.close()
    return {
        f"{method} {route.path}"
        for route in tables[0]
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_setting_stands_there_with_its_flag_its_names_and_its_default(setting):
    found = {flag.strip("`"): (names, default) for flag, names, default, _ in rows("Settings")}

    names, default = found[setting.flag]
    assert re.findall(r"`(\w+)`", names) == [setting.name.upper(), *setting.also]
    assert default == setting.default


def test_no_other_setting_stands_there():
    assert [row[0].strip("`") for row in rows("Settings")] == [setting.flag for setting in SETTINGS]


def test_every_command_stands_there_and_no_other():
    assert {re.match(r"`millhand (\w+)", row[0])[1] for row in rows("Commands")} == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_of_a_command_that_is_no_setting_stands_there(name):
    [row] = [" ".join(row) for row in rows("Commands") if row[0].startswith(f"`millhand {name}")]
    flags = {option for parameter in COMMANDS[name].params for option in parameter.opts if option.startswith("--")}
    own = flags - {setting.flag for setting in SETTINGS} - {"--help"}

    assert {flag for flag in own if f"`{flag}`" not in row} == set()


def test_every_route_stands_there_and_no_other():
    assert {row[0].strip("`") for row in rows("Routes")} == routes()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_has_a_help_text(name):
    assert COMMANDS[name].help
    assert [
        parameter.name for parameter in COMMANDS[name].params if not getattr(parameter, "help", "an argument")
    ] == []
