"""The run from the outside: fetch Django's tests, run both sides beside each other, compare, show."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import django
from rich.console import Console

from django_suite import source, table
from django_suite.outcomes import Comparison, compare, together
from django_suite.sides import OURS, Run, Side, SuiteBroken, sides

MODULES = (
    "basic",
    "queries",
    "transactions",
    "aggregation",
    "backends",
    "migrations",
    "schema",
    "many_to_many",
    "many_to_one",
    "select_related",
    "prefetch_related",
    "bulk_create",
)

#: What touches the connection most, and takes a third of the time.
SHORT = ("basic", "transactions", "backends", "schema", "bulk_create")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; return 1 when a test differs or a run breaks, and 2 for what cannot be run."""
    options = _parse(arguments)
    console = Console(stderr=True)
    try:
        tests = source.tests_directory(options.directory or source.default_directory())
        modules = _chosen(options, tests)
        pair = sides(installed=options.installed, leased=options.leased, on_disk=options.on_disk)
        comparisons = _compare(pair, tests=tests, modules=modules, seconds=options.seconds)
    except (source.SourceUnavailable, SuiteBroken) as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    table.show(Console(), comparisons, title=_title(options))
    return 1 if together(comparisons).differing else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m django_suite", description=__doc__)
    add = parser.add_argument
    add("modules", nargs="*", help=f"of Django's tests; default: {' '.join(MODULES)}")
    add("--short", action="store_true", help=f"only {' '.join(SHORT)}")
    add(
        "--installed", action="store_true", help='with "dsud" installed on our side, and its router'
    )
    add("--leased", action="store_true", help="with connections as users have them; on disk")
    add("--on-disk", action="store_true", help="with files in the place of databases in memory")
    add("--directory", type=Path, help="where Django's source is kept between runs")
    add("--seconds", type=float, default=1_200, help="after which a run counts as broken")
    return parser.parse_args(arguments)


def _chosen(options: argparse.Namespace, tests: Path) -> Sequence[str]:
    modules = options.modules or (SHORT if options.short else MODULES)
    for module in modules:
        # Because runtests.py reports a name that is wrong as a test that fails, on both sides.
        if not (tests / module.split(".")[0] / "__init__.py").is_file():
            raise SuiteBroken(f"Django {django.__version__} has no tests in {module!r}.")
    return list(modules)


def _compare(
    pair: tuple[Side, Side], *, tests: Path, modules: Sequence[str], seconds: float
) -> dict[str, Comparison]:
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="django-suite-")))
        runs = []
        for side in pair:
            runs.append(Run(side, tests=tests, modules=modules, scratch=scratch))
            stack.callback(runs[-1].stop)
        stock, ours = (run.outcomes(seconds=seconds) for run in runs)
    return compare(stock, ours)


def _title(options: argparse.Namespace) -> str:
    python = ".".join(map(str, sys.version_info[:2]))
    names = ("installed", "leased", "on_disk")
    extras = [name.replace("_", " ") for name in names if getattr(options, name)]
    return f"Django {django.__version__} on Python {python}: {', '.join([OURS, *extras])}"


if __name__ == "__main__":
    sys.exit(main())
