"""Run more seeds than the tests do: `python -m tests.simulation --seeds 100000 --start 0`; or show one: `--show 17`."""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.auditor import audit
from tests.simulation.database import Database
from tests.simulation.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many (1000)")
    parser.add_argument("--start", type=int, default=0, help="the first (0)")
    parser.add_argument("--show", type=int, metavar="SEED", help="print the history of this one seed, and stop")
    chosen = parser.parse_args()
    logging.disable()
    with Database() as database:
        if chosen.show is not None:
            return show(chosen.show, database)
        return run_many(range(chosen.start, chosen.start + chosen.seeds), database)


def show(seed: int, database: Database) -> int:
    """Print all that happened under one seed."""
    world = World(seed, database)
    print(world.weather)
    violations = audit(world.run())
    for event in world.history:
        facts = {name: value for name in event.__slots__ if (value := getattr(event, name)) and name not in "kind at"}
        print(f"{event.at:9.3f}  {event.kind:12s}  " + "  ".join(f"{name}={value}" for name, value in facts.items()))
    for violation in violations:
        print("VIOLATION", violation)
    return 1 if violations else 0


def run_many(seeds: range, database: Database) -> int:
    """Run the seeds, print those that show a violation, and how far it is."""
    began, failed, steps = time.monotonic(), 0, 0
    for done, seed in enumerate(seeds, start=1):
        world = World(seed, database)
        violations = audit(world.run())
        steps += world.steps
        if violations:
            failed += 1
            print(f"\rseed {seed}: " + "; ".join(map(str, violations[:3])))
        if done % 100 == 0 or done == len(seeds):
            per_second = done / (time.monotonic() - began)
            text = (
                f"\r{done} of {len(seeds)} seeds, {failed} failed, {steps / done:.0f} steps each, {per_second:.0f}/s "
            )
            print(text, end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
