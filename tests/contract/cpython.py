"""Runs CPython's own `test_concurrent_futures` with ThreadPool, or ProcessPool, in the executor's place.

A program for any interpreter that millhand supports, not only for the one that runs pytest: it needs millhand
on the path and the standard library, with its tests. `cpython.py CLASS SECONDS PART PARTS` runs every PARTS-th test
of the executor that CLASS stands for, and ends by itself when the time is over. Its last line on stdout is one
JSON object: passed, failed, skipped.
"""

from __future__ import annotations

import concurrent.futures
import faulthandler
import gc
import importlib
import json
import pkgutil
import sys
import threading
import unittest
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import ModuleType

from test import support

import millhand
from millhand import ProcessPool, ThreadPool
from millhand.core.errors import WorkerCrashed

SUITE = "test.test_concurrent_futures"
DIED = (BrokenProcessPool, WorkerCrashed)
"""What a call may raise whose process has died. That only this call fails, and not its pool, is on purpose."""
CLASSES = {"ThreadPool": ThreadPool, "ProcessPool": ProcessPool}
SOURCE = str(Path(millhand.__file__).parents[1])
SWAP = f"""\
import sys
sys.path.insert(0, {SOURCE!r})
import concurrent.futures
from millhand import ProcessPool, ThreadPool
concurrent.futures.ThreadPoolExecutor = concurrent.futures.ThreadPool = ThreadPool
concurrent.futures.ProcessPoolExecutor = concurrent.futures.ProcessPool = ProcessPool
"""
"""Set before the suite's own scripts: they import the class by its name, in an interpreter that ignores our path."""


class Result(unittest.TextTestResult):
    """This also fails a test that leaves a thread or a process behind, which the suite itself only prints."""

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's name
        gc.collect()  # what a failed test has left in a circle: a pool that lives on is noticed by the next test
        for thread in threading.enumerate():
            if thread.name.startswith("ProcessPool"):
                thread.join(5)
        if support.environment_altered:
            support.environment_altered = False
            self.errors.append((test, "It left a thread or a process behind."))
        super().stopTest(test)


def main(name: str, seconds: float, part: int, parts: int) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True)  # what hangs shows where
    # Before the import: classes of the suite bind it at once.
    setattr(concurrent.futures, f"{name}Executor", CLASSES[name])
    tests = [test for module in suite_modules() for test in tests_of(CLASSES[name], module)][part::parts]
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
        if hasattr(module, "BrokenProcessPool"):
            module.BrokenProcessPool = DIED
        yield module


def swap_in_scripts(module: ModuleType) -> None:
    """Have the scripts that a module runs in processes of their own swap the class, too."""
    if hasattr(module, "assert_python_ok"):
        run = module.assert_python_ok
        module.assert_python_ok = lambda option, script: run(option, SWAP + script)


def tests_of(executor: type, module: ModuleType) -> Iterator[unittest.TestCase]:
    """Yield the tests whose executor is this; others are of the other kind, or of futures without an executor."""
    for case in vars(module).values():
        is_case = isinstance(case, type) and issubclass(case, unittest.TestCase) and case.__module__ == module.__name__
        if is_case and getattr(case, "executor_type", None) is executor:
            yield from map(case, unittest.defaultTestLoader.getTestCaseNames(case))


def name_of(test: unittest.TestCase) -> str:
    """Return `Class.method`, the same in all versions; a subtest counts as its test."""
    return ".".join(getattr(test, "test_case", test).id().split(".")[-2:])


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
