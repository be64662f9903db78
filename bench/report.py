"""What every benchmark prints first, and medians."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import median


def header(question: str) -> None:
    """Print the question and the conditions under which it is answered."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
        described = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        described = "unknown"
    load = os.getloadavg()[0]
    print(question)
    print(
        f"commit {described}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.release()}, load {load:.1f}"
    )


def row(name: str, values: Sequence[float], unit: str) -> float:
    """Print a name, the median of its values, and every value; return the median."""
    middle = median(values)
    print(f"{name:<44} {middle:>12,.0f} {unit:<8} ({' '.join(f'{value:,.0f}' for value in values)})")
    return middle
