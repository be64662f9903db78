"""Which function runs which type of job."""

from __future__ import annotations

import math

import pytest

from millhand.core import UnknownJobType
from millhand.jobs import Registry
from millhand.policy import Backoff, Retry


def mail(to: str) -> str:
    return to


def resize(image: str) -> str:
    return image


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_a_type_is_called_like_its_function(registry: Registry) -> None:
    added = registry.add(mail)

    assert (added.name, added.function) == ("mail", mail)
    assert registry.get("mail") is added
    assert registry.name_of(mail) == "mail"


def test_a_type_can_be_given_a_name(registry: Registry) -> None:
    registry.add(mail, "send-mail")

    assert registry.find("mail") is None
    assert registry.get("send-mail").function is mail
    assert registry.name_of(mail) == "send-mail"


def test_a_type_keeps_what_its_jobs_are_to_get(registry: Registry) -> None:
    retry = Retry(backoff=Backoff(base=9.0))

    added = registry.add(mail, timeout=2.0, max_attempts=9, retry=retry)

    assert (added.timeout, added.max_attempts, added.retry) == (2.0, 9, retry)


def test_without_a_word_a_job_has_five_attempts_and_no_limit_of_time(registry: Registry) -> None:
    added = registry.add(mail)

    assert (added.timeout, added.max_attempts, added.retry) == (None, 5, Retry())


def test_names_are_sorted_and_hold_globs_too(registry: Registry) -> None:
    registry.add(resize)
    registry.add(mail, "job-*")
    registry.add(mail)

    assert registry.names == ["job-*", "mail", "resize"]


@pytest.mark.parametrize("name", ["job-1", "job-", "job-x-y"])
def test_a_glob_stands_for_every_name_that_fits(registry: Registry, name: str) -> None:
    registry.add(mail, "job-*")

    assert registry.get(name).function is mail
    assert registry.find("other") is None


def test_an_exact_name_goes_before_a_glob_and_the_first_glob_before_the_next(registry: Registry) -> None:
    registry.add(mail, "job-*")
    registry.add(resize, "job-1*")
    registry.add(resize, "job-1")

    assert registry.get("job-1").function is resize
    assert registry.get("job-12").function is mail


def test_a_glob_tells_capitals_from_small_letters(registry: Registry) -> None:
    registry.add(mail, "job-*")

    assert registry.find("Job-1") is None


def test_a_name_is_taken_once(registry: Registry) -> None:
    registry.add(mail)
    registry.add(mail, "job-*")

    with pytest.raises(ValueError, match="'mail' is registered already"):
        registry.add(resize, "mail")
    with pytest.raises(ValueError, match=r"'job-\*' is registered already"):
        registry.add(resize, "job-*")


def test_a_function_may_have_two_names_and_is_submitted_by_its_first(registry: Registry) -> None:
    registry.add(mail, "first")
    registry.add(mail, "second")

    assert registry.name_of(mail) == "first"
    assert registry.get("second").function is mail


def test_a_lambda_needs_a_name(registry: Registry) -> None:
    with pytest.raises(ValueError, match="has no name"):
        registry.add(lambda: None)

    assert registry.add(lambda: None, "nothing").name == "nothing"


def test_an_empty_name_is_refused(registry: Registry) -> None:
    with pytest.raises(ValueError, match="has no name"):
        registry.add(mail, "")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": -1}, "max_attempts"),
        ({"timeout": 0.0}, "timeout"),
        ({"timeout": -1.0}, "timeout"),
        ({"timeout": math.nan}, "timeout"),
        ({"timeout": math.inf}, "timeout"),
    ],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_refused(registry: Registry, options: dict[str, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        registry.add(mail, **options)

    assert registry.names == []


def test_a_function_whose_arguments_cannot_be_kept_is_refused(registry: Registry) -> None:
    def variadic(*args: int) -> None: ...

    with pytest.raises(TypeError, match="variadic"):
        registry.add(variadic)

    assert registry.names == []


def test_an_unknown_name_is_told_with_those_that_are_known(registry: Registry) -> None:
    registry.add(mail)

    with pytest.raises(UnknownJobType) as caught:
        registry.get("male")

    assert (caught.value.type, caught.value.known) == ("male", ("mail",))


def test_a_function_that_is_not_registered_has_no_name(registry: Registry) -> None:
    with pytest.raises(UnknownJobType, match="resize"):
        registry.name_of(resize)


def test_a_function_known_by_a_glob_alone_has_no_name(registry: Registry) -> None:
    registry.add(mail, "job-*")

    with pytest.raises(UnknownJobType):
        registry.name_of(mail)


def test_a_function_known_by_a_glob_and_a_name_is_submitted_by_its_name(registry: Registry) -> None:
    registry.add(mail, "job-*")
    registry.add(mail, "mail")

    assert registry.name_of(mail) == "mail"


@pytest.mark.parametrize(
    ("name", "types", "fits"),
    [
        ("mail", ["mail"], True),
        ("mail", ["mailing", "m"], False),
        ("job-1", ["mail", "job-*"], True),
        ("job-b", ["job-[!a]"], True),
        ("job-a", ["job-[!a]"], False),
        ("Job-1", ["job-*"], False),
        ("mail", [], False),
    ],
)
def test_a_name_is_compared_with_types_declared_elsewhere(name: str, types: list[str], fits: bool) -> None:
    assert Registry.matches(name, types) is fits
