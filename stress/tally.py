"""What happened, counted: operations, errors and leaks of all threads of a process."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path

#: Unexpected errors and leaks that are told in full, one of a kind from each process.
EXAMPLES = 8

ROOT = Path(__file__).parents[1]


class Boom(Exception):
    """Raised on purpose at random places."""


@dataclass
class Report:
    """The figures of one process, or of several together."""

    operations: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    expected: Counter[str] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)
    leaks: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @classmethod
    def from_json(cls, data: dict[str, object]) -> Report:
        """Return what another process has written."""
        examples = data.pop("examples")
        counters = {name: Counter(counts) for name, counts in data.items()}  # type: ignore[call-overload]
        return cls(**counters, examples=list(examples))  # type: ignore[call-overload]

    def add(self, other: Report) -> None:
        """Add the figures of another process."""
        for name in ("operations", "events", "expected", "unexpected", "leaks"):
            getattr(self, name).update(getattr(other, name))
        self.examples = (self.examples + other.examples)[:EXAMPLES]

    def as_json(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing leaked and nothing failed that should not."""
        return not self.leaks and not self.unexpected


class Tally:
    """The figures of this process while it runs, and when it is to stop."""

    def __init__(self, face: str, *, operations: int, seconds: float) -> None:
        self.face = face
        self.report = Report()
        self._limit = operations
        self._deadline = time.monotonic() + seconds
        self._lock = threading.Lock()

    def over(self) -> bool:
        """Tell whether enough was done."""
        done = self.report.operations[self.face]
        return done >= self._limit or time.monotonic() > self._deadline

    def did(self, operations: int) -> None:
        """Count operations of the ORM."""
        with self._lock:
            self.report.operations[self.face] += operations

    def happened(self, event: str, number: int = 1) -> None:
        """Count something that is no error."""
        with self._lock:
            self.report.events[event] += number

    def leaked(self, how: str, number: int = 1, *, detail: str = "") -> None:
        """Count rows, or uses of rows, that reached somebody else."""
        with self._lock:
            if how not in self.report.leaks:
                where = _own(traceback.extract_stack())
                self.report.examples.append(f"{where}Leak, {how}: {detail}")
            self.report.leaks[how] += number

    def failed(self, error: BaseException, *, expected: bool) -> None:
        """Count an error by its type."""
        with self._lock:
            name = type(error).__name__
            if expected:
                self.report.expected[name] += 1
                return
            if name not in self.report.unexpected:
                where = _own(traceback.extract_tb(error.__traceback__))
                self.report.examples.append(f"{where}{name}: {error}")
            self.report.unexpected[name] += 1

    def wrong(self, what: str) -> None:
        """Count something unexpected that raised nothing."""
        with self._lock:
            self.report.unexpected[what] += 1

    def refused(self, error: BaseException) -> None:
        """Count a refusal that was called for."""
        self.failed(error, expected=True)


def _own(frames: traceback.StackSummary) -> str:
    """Return the lines of this project, and the last one."""
    own = [frame for frame in frames[:-1] if Path(frame.filename).is_relative_to(ROOT)]
    return "".join(traceback.format_list([*own, *frames[-1:]]))
