"""`examples`: the gallery from a shell."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from millhand.examples.gallery import GALLERY, SECTIONS, Example, Finished, choose, run
from millhand.examples.judge import judge
from millhand.examples.table import print_table


def show_gallery(what: str | None, solution: Path | None, *, as_json: bool) -> int:
    """Check a solution, run what is named, or say what there is; return the exit code.

    Raises:
        ValueError: what was asked for makes no sense.
    """
    if solution is not None:
        if what not in (None, "exercises"):
            raise ValueError(f"{what} has no checks; write millhand examples exercises --check {solution}")
        return _check_solution(solution, as_json=as_json)
    return _list_examples(as_json=as_json) if what is None else _run_examples(what, as_json=as_json)


def _list_examples(*, as_json: bool) -> int:
    """Print the name of each example, and what it is about."""
    if as_json:
        for example in GALLERY:
            print(json.dumps({"name": example.name, "summary": example.summary}))
        return 0
    print_table(["example", "what it shows"], [(example.name, example.summary) for example in GALLERY])
    print(f"\nmillhand examples {' | '.join(SECTIONS)} | all | NAME")
    return 0


def _run_examples(what: str, *, as_json: bool) -> int:
    """Run what is named, one after the other; return the exit code (1: one has failed)."""
    examples = choose(what)
    ends = [_run_as_json(example) if as_json else _run_and_show(example) for example in examples]
    failed = [end.name for end in ends if not end.ok]
    if not as_json and len(ends) > 1:
        print(f"── {len(ends)} examples in {sum(end.seconds for end in ends):.1f} s, {len(failed)} failed")
    if failed:
        print(f"millhand: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run_as_json(example: Example) -> Finished:
    end = run(example, keep=True)
    shown = asdict(end) | {"seconds": round(end.seconds, 3)}
    if end.ok:
        del shown["error"]  # what a good example writes there is its progress bar
    print(json.dumps(shown), flush=True)
    return end


def _run_and_show(example: Example) -> Finished:
    print(f"── {example.name}: {example.summary}", flush=True)  # what it prints goes straight to the terminal
    end = run(example, keep=False)
    print(f"── {end.seconds:.1f} s{'' if end.ok else f', failed {end.error}'.rstrip()}\n", flush=True)
    return end


def _check_solution(file: Path, *, as_json: bool) -> int:
    """Run the checks of the exercises that a file solves; return the exit code (1: something is missing)."""
    verdicts = judge(file)
    for verdict in verdicts:
        if as_json:
            print(json.dumps(asdict(verdict)))
        else:
            said = "ok     " if verdict.ok else "not yet"
            print(f"{said}  {verdict.exercise}: {verdict.claim}")
            if verdict.why:
                print(f"         {verdict.why}")
    missing = sum(not verdict.ok for verdict in verdicts)
    if not as_json:
        print(f"{len(verdicts)} checks, {missing or 'none'} not passed yet")
    return 1 if missing else 0
