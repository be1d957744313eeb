"""A comparison as one table, and each difference below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from django_suite.outcomes import Comparison, Difference, Outcome, together

COLUMNS = ("tests", "ok", "skipped", "expected", "fail in both", "differ")

#: Lines of a traceback that are shown: the last ones say what went wrong.
TRACEBACK_LINES = 30


def show(console: Console, comparisons: Mapping[str, Comparison], *, title: str) -> None:
    """Print the table, the tests that fail on both sides, and those that differ."""
    table = Table(title=title)
    table.add_column("module", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for module, comparison in sorted(comparisons.items()):
        table.add_row(module, *_figures(comparison))
    total = together(comparisons)
    table.add_section()
    table.add_row("[bold]all[/]", *_figures(total))
    console.print(table)
    for line in (*_told_of_both(total), *_differing(total)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _figures(comparison: Comparison) -> Iterator[str]:
    events = comparison.events
    yield f"{comparison.tests:,}"
    for event in ("ok", "skip", "expected failure"):
        yield f"{events[event]:,}"
    yield f"{len(comparison.failing_in_both):,}"
    yield f"{len(comparison.differing):,}"


def _told_of_both(total: Comparison) -> Iterator[str]:
    for test in total.left_out:
        yield f"Left out: {test}"
    for test in total.failing_in_both:
        yield f"Fails in both: {test}"


def _differing(total: Comparison) -> Iterator[str]:
    for difference in total.differing:
        yield f"Differs: {difference.test}"
        yield f"  stock: {_told(difference.stock)}"
        yield f"  ours:  {_told(difference.ours)}"
        yield from _tracebacks(difference)


def _told(outcome: Outcome | None) -> str:
    return "did not run" if outcome is None else str(outcome)


def _tracebacks(difference: Difference) -> Iterator[str]:
    for outcome in (difference.stock, difference.ours):
        if outcome is not None:
            for line in outcome.traceback.splitlines()[-TRACEBACK_LINES:]:
                yield f"    {line}"
