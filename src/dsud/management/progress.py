"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import IO, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from dsud.fleet import Outcome

R = TypeVar("R")

#: Seconds between two lines where there is no terminal, and between two looks of the bar.
LINES_EVERY = 5.0
BAR_EVERY = 0.1


class Rate(ProgressColumn):
    """How many databases a second."""

    def render(self, task: Task) -> Text:
        """Return the column's text."""
        return Text("" if task.speed is None else f"{task.speed:.0f}/s")


class Progress:
    """Follows outcomes; each is counted when it passes."""

    def __init__(
        self,
        stream: IO[str],
        *,
        total: int,
        verb: str,
        is_quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._total = total
        self._verb = verb
        self._is_quiet = is_quiet
        self._clock = clock
        self._bar: RichProgress | None = None
        self.count = 0
        self.failed = 0

    def following(self, outcomes: Iterable[Outcome[R]]) -> Iterator[Outcome[R]]:
        """Yield the outcomes, and show how far they are."""
        if self._is_quiet or not self._total:
            yield from outcomes
        elif self._stream.isatty():
            yield from self._with_bar(outcomes)
        else:
            yield from self._with_lines(outcomes)

    def aside(self) -> AbstractContextManager[None]:
        """Step aside for a block that prints, because a bar stands where it would."""
        return nullcontext() if self._bar is None else _hidden(self._bar)

    def _note(self, outcome: Outcome[R]) -> None:
        self.count += 1
        self.failed += outcome.error is not None

    # On a terminal

    def _with_bar(self, outcomes: Iterable[Outcome[R]]) -> Iterator[Outcome[R]]:
        # Drawn by us and not by a thread of its own, because workers are forked meanwhile.
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failures]}"),
            console=Console(file=self._stream),
            auto_refresh=False,
            transient=True,
        )
        task = self._bar.add_task(self._verb, total=self._total, failures="")
        drawn = 0.0
        with self._bar:
            for outcome in outcomes:
                self._note(outcome)
                failures = f"[red]{self.failed} failed" if self.failed else ""
                self._bar.update(task, completed=self.count, failures=failures)
                if self._clock() - drawn > BAR_EVERY:
                    self._bar.refresh()
                    drawn = self._clock()
                yield outcome
        self._bar = None

    # Elsewhere

    def _with_lines(self, outcomes: Iterable[Outcome[R]]) -> Iterator[Outcome[R]]:
        began = said = self._clock()
        for outcome in outcomes:
            self._note(outcome)
            now = self._clock()
            if now - said >= LINES_EVERY and self.count < self._total:
                self._stream.write(self._line(now - began) + "\n")
                said = now
            yield outcome

    def _line(self, seconds: float) -> str:
        rate = self.count / seconds
        left = timedelta(0, round((self._total - self.count) / rate))
        failed = f", {self.failed} failed" if self.failed else ""
        share = 100 * self.count // self._total
        return (
            f"{share:3d}% {self._verb} {self.count} of {self._total}{failed},"
            f" {rate:.0f}/s, {left} left"
        )


@contextmanager
def _hidden(bar: RichProgress) -> Iterator[None]:
    bar.stop()
    try:
        yield
    finally:
        bar.start()
