"""Tables: the same facts on a terminal and in a pipe."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import pytest

from millhand.examples import table


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Stand for a terminal, of a known size."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "dumb")
    return Terminal()


ROWS = [("tea", 12, 0.5), ("[red]", 3, 10.25)]


def test_in_a_pipe_columns_are_plain_and_numbers_stand_to_the_right(capsys):
    table.print_table(["what", "n", "seconds"], ROWS)

    assert capsys.readouterr().out.splitlines() == [
        "what    n  seconds",
        "tea    12    0.500",
        "[red]   3   10.250",
    ]


def test_on_a_terminal_rich_draws_it_and_takes_no_text_for_markup(terminal):
    with redirect_stdout(terminal):
        table.print_table(["what", "n", "seconds"], ROWS)

    lines = terminal.getvalue().splitlines()
    assert "│ [red] │  3 │  10.250 │" in lines
    assert lines[0].startswith("┏")


def test_on_a_terminal_without_rich_it_is_plain(terminal, monkeypatch):
    monkeypatch.setattr(table, "find_spec", lambda name: None)

    with redirect_stdout(terminal):
        table.print_table(["what"], [("tea",)])

    assert terminal.getvalue() == "what\ntea\n"


def test_a_table_without_rows_is_its_heads(capsys):
    table.print_table(["what", "n"], [])

    assert capsys.readouterr().out == "what  n\n"
