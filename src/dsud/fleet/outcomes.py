"""What came of each database, told in order while the others are at work, and kept if it failed."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Generic, Self, TypeVar

from django.db import connections

from dsud import provisioning
from dsud.connections import alias_of
from dsud.context import use_user
from dsud.engines import engine
from dsud.exceptions import FleetFailed
from dsud.opening import unmigrated

R = TypeVar("R")


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What came of one user database: a result or an error, and how long it took in seconds."""

    user_key: str
    result: R | None
    error: Exception | None
    seconds: float


class Part(Outcome[R]):
    """Some of what a database has to tell, which goes on: its outcome is told last."""


@dataclass(frozen=True)
class Work(Generic[R]):
    """What is to be done to each database, and whether the database itself shall refuse to change."""

    function: Callable[[str], R]
    read_only: bool = False
    #: Whether it changes nothing to do it twice, as when a worker was killed before it told.
    is_repeatable: bool = False

    def outcomes(self, key: str) -> Iterator[Outcome[R]]:
        """Yield what comes of one database; some kinds of work tell it in parts."""
        yield self._do(key)

    def _do(self, key: str) -> Outcome[R]:
        """Do it to one database, as its user; whatever goes wrong is that one's failure."""
        result, error = None, None
        start = time.perf_counter()
        try:
            with use_user(key), ReadOnly(key) if self.read_only else _AS_IT_IS:
                result = self.function(key)
        except Exception as raised:  # noqa: BLE001, because it is this user's failure, and is reported
            error = raised
        return Outcome(key, result, error, time.perf_counter() - start)


_AS_IT_IS = nullcontext()


class ReadOnly:
    """Have a user's database refuse every change while it is entered, as often as it is."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._entered = ExitStack()

    def __enter__(self) -> None:
        # Because reading makes a database where there is none.
        provisioning.refuse_missing(self._key)
        with ExitStack() as entered:  # Left at once when the engine refuses.
            entered.enter_context(unmigrated())
            entered.enter_context(engine().read_only(connections[alias_of(self._key)]))
            self._entered = entered.pop_all()

    def __exit__(self, *raised: object) -> None:
        self._entered.close()


class Stop:
    """Says that no further database shall be taken in hand."""

    def __init__(self) -> None:
        self._asked = False

    def __bool__(self) -> bool:
        return self._asked

    def ask(self) -> None:
        """Have everybody stop after the database in hand."""
        self._asked = True


class Outcomes(Iterator[Outcome[R]]):
    """The outcomes of a run, in the order of its users; the work is done while they are taken.

    ``failures`` has the errors of those that were taken so far. Ctrl-C stops the run after the
    databases in hand: their outcomes are still told, then ``KeyboardInterrupt`` is raised.
    """

    def __init__(self, steps: Generator[Outcome[R]], *, stop: Stop) -> None:
        self._steps = steps
        self._stop = stop
        self._begun = False
        self._hears = False
        self.failures: dict[str, BaseException] = {}

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Outcome[R]:
        self._begun = True
        if self._hears:
            return self._take()
        with _told_by_ctrl_c(self._stop):
            return self._take()

    def _take(self) -> Outcome[R]:
        try:
            outcome = next(self._steps)
        except StopIteration:
            if self._stop:
                raise KeyboardInterrupt from None
            raise
        if outcome.error is not None:
            self.failures[outcome.user_key] = outcome.error
        return outcome

    @contextmanager
    def hearing(self) -> Iterator[Self]:
        """Take the first Ctrl-C of a whole block for the wish to stop soon.

        For who takes one outcome after the other and does little with each: else the signal is
        taken and given back with each of them.
        """
        with _told_by_ctrl_c(self._stop):
            self._hears = True
            try:
                yield self
            finally:
                self._hears = False

    def close(self) -> None:
        """Stop after the databases in hand, and tell nothing more."""
        self._begun = True
        self._steps.close()

    def raise_failures(self) -> None:
        """Work to the end, and raise ``FleetFailed`` when any database has failed."""
        with self.hearing():
            for _ in self:
                pass
        if self.failures:
            raise FleetFailed(self.failures)

    def __del__(self) -> None:
        if not self._begun:
            warnings.warn(
                "fleet.for_each() was called and its outcomes were not taken, so nothing was done."
                " Iterate over them, or call raise_failures() on them.",
                RuntimeWarning,
                stacklevel=2,
            )


@contextmanager
def _told_by_ctrl_c(stop: Stop) -> Iterator[None]:
    """Take the first Ctrl-C for the wish to stop soon; the second interrupts, as it always does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield  # Somebody has other wishes.
        return

    def receive(number: int, frame: FrameType | None) -> None:
        if stop:
            raise KeyboardInterrupt
        stop.ask()

    signal.signal(signal.SIGINT, receive)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def raise_failures(outcomes: Iterable[Outcome[R]]) -> None:
    """Raise ``FleetFailed`` when any of the outcomes is a failure."""
    if isinstance(outcomes, Outcomes):
        outcomes.raise_failures()
        return
    failures = {each.user_key: each.error for each in outcomes if each.error is not None}
    if failures:
        raise FleetFailed(failures)
