"""How far a run over many databases is: a bar on a terminal, lines with percentages elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from dsud import fleet

R = TypeVar("R")

#: Seconds between two lines.
EVERY = 5.0


class Stream(Protocol):
    """Where a command writes errors and notes to."""

    def write(self, text: str) -> object: ...
    def isatty(self) -> bool: ...


def shown(
    outcomes: Iterable[fleet.Outcome[R]], *, total: int, stream: Stream
) -> Iterator[fleet.Outcome[R]]:
    """Yield the outcomes, and show meanwhile how many there were, how fast, and how many failed."""
    with _on_terminal(total, stream) if stream.isatty() else _in_lines(total, stream) as tell:
        failures = 0
        for outcome in outcomes:
            failures += outcome.error is not None
            tell.tell(failures)
            yield outcome


class _Teller(Protocol):
    def tell(self, failures: int) -> None: ...


@contextmanager
def _on_terminal(total: int, stream: Stream) -> Iterator[_Teller]:
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f}/s, {task.fields[failures]} failed, ready in"),
        TimeRemainingColumn(),
    )
    console = Console(file=cast("None", stream))
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress, total)


class _Bar:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total, rate=0.0, failures=0)
        self._start, self._done = time.monotonic(), 0

    def tell(self, failures: int) -> None:
        self._done += 1
        rate = self._done / max(time.monotonic() - self._start, 0.001)
        self._progress.update(self._task, advance=1, rate=rate, failures=failures)


@contextmanager
def _in_lines(total: int, stream: Stream) -> Iterator[_Teller]:
    yield _Lines(total, stream)


class _Lines:
    def __init__(self, total: int, stream: Stream) -> None:
        self._total, self._stream = total, stream
        self._start = self._last = time.monotonic()
        self._done = 0

    def tell(self, failures: int) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._last < EVERY:
            return
        self._last = now
        rate = self._done / (now - self._start)
        self._stream.write(
            f"{self._done / self._total:.0%}: {self._done} of {self._total},"
            f" {rate:.0f}/s, {failures} failed\n"
        )
