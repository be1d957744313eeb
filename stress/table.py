"""The figures of a run as one table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from stress.tally import Report
from stress.verifier import Findings


@dataclass(frozen=True)
class Outcome:
    """All that is known at the end."""

    seed: str
    users: int
    seconds: float
    report: Report
    findings: Findings

    def as_json(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return {
            **self.report.as_json(),
            "seed": self.seed,
            "users": self.users,
            "seconds": round(self.seconds),
            "files": self.findings.files,
            "rows": self.findings.rows,
        }


def show(outcome: Outcome) -> None:
    """Print the table, and the tracebacks of unexpected errors below it."""
    report = outcome.report
    table = Table(title=f"Stress, seed {outcome.seed}, {outcome.seconds:.0f} s")
    table.add_column("what")
    table.add_column("which")
    table.add_column("how many", justify="right")
    _section(table, "operations", report.operations, total=True)
    table.add_row("users", "", f"{outcome.users:,}")
    _section(table, "events", report.events)
    table.add_row("files read at the end", "", f"{outcome.findings.files:,}")
    table.add_row("rows read at the end", "", f"{outcome.findings.rows:,}", end_section=True)
    _section(table, "errors, expected", report.expected, total=True)
    _section(table, "errors, unexpected", report.unexpected, total=True)
    _section(table, "leaks", report.leaks, total=True)
    console = Console()
    console.print(table)
    for example in report.examples:
        console.print(example, markup=False, highlight=False)


def _section(table: Table, name: str, counts: Counter[str], *, total: bool = False) -> None:
    for which, number in sorted(counts.items()):
        table.add_row(name, which, f"{number:,}")
    if total:
        table.add_row(name, "[bold]all[/]", f"[bold]{counts.total():,}[/]")
    table.add_section()
