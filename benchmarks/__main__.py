"""Runs a benchmark by its name, prints its table and writes its figures."""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import sys
from pathlib import Path

import django

from benchmarks import fleet, fleet_queries, split, testing
from benchmarks.figures import Report

BENCHMARKS = {
    "fleet": fleet.run,
    "fleet_queries": fleet_queries.run,
    "split": split.run,
    "tests": testing.run,
}


def main() -> int:
    """Run what is asked for, and return 1 if a figure misses its target."""
    arguments = _parse()
    missed = False
    for name in arguments.names or BENCHMARKS:
        report = BENCHMARKS[name](quick=arguments.quick)
        report.show()
        missed = missed or report.misses
        if arguments.json is not None:
            _write(report, arguments.json / f"{name}.json")
    return int(missed)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, wider spread")
    parser.add_argument("--json", type=Path, metavar="DIRECTORY", help="write the figures there")
    return parser.parse_args()


def _write(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "python": platform.python_version(),
        "django": django.get_version(),
        "sqlite": sqlite3.sqlite_version,
        "machine": platform.machine(),
    }
    path.write_text(json.dumps({**machine, **report.as_json()}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
