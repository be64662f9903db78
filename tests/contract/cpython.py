"""Runs thread tests of CPython's own `test_concurrent_futures` with ThreadPool in the executor's place.

A program for any interpreter that millhand supports, not only for the one that runs pytest: it needs millhand
on the path and the standard library, with its tests. `cpython.py SECONDS PART PARTS` runs every PARTS-th test
and ends by itself when the time is over. Its last line on stdout is one JSON object: passed, failed, skipped.
"""

from __future__ import annotations

import concurrent.futures
import faulthandler
import importlib
import json
import pkgutil
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from test import support

import millhand
from millhand import ThreadPool

SUITE = "test.test_concurrent_futures"
SOURCE = str(Path(millhand.__file__).parents[1])
SWAP = f"""\
import sys
sys.path.insert(0, {SOURCE!r})
import concurrent.futures
from millhand import ThreadPool
concurrent.futures.ThreadPoolExecutor = concurrent.futures.ThreadPool = ThreadPool
"""
"""Set before the suite's own scripts: they import the class by its name, in an interpreter that ignores our path."""


class Result(unittest.TextTestResult):
    """This also fails a test that leaves a thread or a process behind, which the suite itself only prints."""

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's name
        if support.environment_altered:
            support.environment_altered = False
            self.errors.append((test, "It left a thread or a process behind."))
        super().stopTest(test)


def main(seconds: float, part: int, parts: int) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True)  # what hangs shows where
    concurrent.futures.ThreadPoolExecutor = ThreadPool  # before the import: classes of the suite bind it at once
    tests = [test for module in suite_modules() for test in thread_tests(module)][part::parts]
    result = unittest.TextTestRunner(verbosity=2, resultclass=Result).run(unittest.TestSuite(tests))
    failed = {name_of(test): text for test, text in result.failures + result.errors}
    skipped = {name_of(test): reason for test, reason in result.skipped}
    passed = sorted({name_of(test) for test in tests} - failed.keys() - skipped.keys())
    print("\n" + json.dumps({"passed": passed, "failed": failed, "skipped": skipped}))


def suite_modules() -> Iterator[ModuleType]:
    """Import the suite: a single module once, a package since."""
    suite = importlib.import_module(SUITE)
    names = [module.name for module in pkgutil.iter_modules(getattr(suite, "__path__", ()))]
    for module in (suite, *(importlib.import_module(f"{SUITE}.{name}") for name in names if name.startswith("test_"))):
        swap_in_scripts(module)
        yield module


def swap_in_scripts(module: ModuleType) -> None:
    """Have the scripts that a module runs in processes of their own swap the class, too."""
    if hasattr(module, "assert_python_ok"):
        run = module.assert_python_ok
        module.assert_python_ok = lambda option, script: run(option, SWAP + script)


def thread_tests(module: ModuleType) -> Iterator[unittest.TestCase]:
    """Yield the tests whose executor is ours; others are of process pools, or of futures without an executor."""
    for case in vars(module).values():
        is_case = isinstance(case, type) and issubclass(case, unittest.TestCase) and case.__module__ == module.__name__
        if is_case and getattr(case, "executor_type", None) is ThreadPool:
            yield from unittest.defaultTestLoader.loadTestsFromTestCase(case)


def name_of(test: unittest.TestCase) -> str:
    """Return `Class.method`, the same in all versions; a subtest counts as its test."""
    return ".".join(getattr(test, "test_case", test).id().split(".")[-2:])


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
