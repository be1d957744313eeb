"""Runs benchmarks by their names, prints their tables, and writes their figures and charts."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks import machine, tables, usual
from benchmarks.catalogue import BENCHMARKS, QUICK
from benchmarks.figures import Report

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run what is asked for, and return 1 if a figure misses its target."""
    arguments = _parse()
    console = Console()
    if arguments.tables:
        tables.fill_pages(RESULTS)
        return 0
    found = machine.describe()
    console.print(", ".join(f"{name}: {value}" for name, value in found.items()))
    missed = []
    for name in arguments.names or (QUICK if arguments.quick else BENCHMARKS):
        if arguments.record:
            usual.record(name, [BENCHMARKS[name](quick=True) for _ in range(arguments.record)])
            continue
        report = _run(name, console, quick=arguments.quick)
        report.show(console)
        missed += [f"{name}: {figure.what}" for figure in report.missed]
        if arguments.results is not None:
            _write(report, arguments.results / name, found)
    if arguments.results is not None and arguments.results.resolve() == RESULTS:
        tables.fill_pages(RESULTS)
    for each in missed:
        console.print(f"missed: {each}", style="bold red")
    return int(bool(missed))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"fewer rounds; ratios must be within {usual.SLACK} times what is usual",
    )
    parser.add_argument(
        "--record",
        type=int,
        metavar="TIMES",
        help="run so many quick ones and record what is usual",
    )
    parser.add_argument(
        "--results", type=Path, metavar="DIRECTORY", help="write JSON and SVG files there"
    )
    parser.add_argument(
        "--tables", action="store_true", help="only write the kept results into README and pages"
    )
    return parser.parse_args()


def _run(name: str, console: Console, *, quick: bool) -> Report:
    if quick:
        return usual.attempts(
            name, partial(BENCHMARKS[name], quick=True), usual.read(), say=console.print
        )
    return BENCHMARKS[name](quick=False)


def _write(report: Report, path: Path, found: dict[str, str]) -> None:
    from benchmarks import charts  # because only a run that keeps its results needs matplotlib

    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps({"machine": found, **report.as_json()}, indent=2, ensure_ascii=False)
    path.with_suffix(".json").write_text(data + "\n")
    footer = "{processor}, {cores} cores, Python {python}, Django {django}, SQLite {sqlite}"
    charts.draw(report, path.with_suffix(".svg"), footer=footer.format(**found))


if __name__ == "__main__":
    sys.exit(main())
