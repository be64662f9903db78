"""docs/reference/policies.md names every setting of a policy with its default, and every error with its fields."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from millhand import core, policy
from tests.architecture.test_pool_page import rows, section

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "policies.md").read_text()
SETTINGS = [
    policy.Adaptive,
    policy.Backoff,
    policy.Breaker,
    policy.Bulkhead,
    policy.CoDel,
    policy.DeadlineShedding,
    policy.RateLimit,
    policy.Retry,
]
FRESH = [
    policy.Adaptive(low=1, high=2),
    policy.Breaker(),
    policy.Bulkhead(1),
    policy.CoDel(),
    policy.RateLimit(1),
]
OF_OTHERS = {"DEFAULT_AGEING", "Decision", "Finish", "RunAgain", "rank"}
"""Public names for the rooms next door: the pool's page and the kept jobs' pages say what follows from them."""


def shown_default(parameter: inspect.Parameter) -> str:
    """Return a default as the page writes it."""
    if parameter.default is parameter.empty:
        return "–"
    text = repr(parameter.default).replace("'", '"')
    return "Backoff()" if "factory" in text else re.sub(r"<class \"(\w+)\">", r"\1", text)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.__name__)
def test_every_setting_stands_there_with_its_default_and_no_other(settings):
    shown = {row[0].strip("`"): row[1].strip("`") for row in rows(section(PAGE, settings.__name__))}

    assert shown == {each.name: shown_default(each) for each in inspect.signature(settings).parameters.values()}


def test_every_dataclass_of_settings_is_among_those():
    public = {getattr(policy, name) for name in policy.__all__ if name not in OF_OTHERS}

    assert {each for each in public if dataclasses.is_dataclass(each)} == set(SETTINGS)


def test_every_method_of_a_gate_stands_there_and_no_other():
    shown = {row[0].strip("`").partition("(")[0] for row in rows(section(PAGE, "Gates"))}

    assert shown == {name for name in vars(policy.Gate) if not name.startswith("_")}


def test_every_public_name_is_on_the_page_but_for_the_states_that_settings_make():
    missing = {name for name in policy.__all__ if not re.search(rf"\b{name}\b", PAGE)} - OF_OTHERS
    made = {type(settings.fresh()).__name__ for settings in FRESH}

    assert missing == made


def test_every_error_stands_there_with_its_fields():
    shown = {row[0].strip("`"): re.findall(r"`(\w+)`", row[2]) for row in rows(section(PAGE, "Errors"))}

    for name, fields in shown.items():
        assert fields == list(inspect.signature(getattr(core, name)).parameters)
