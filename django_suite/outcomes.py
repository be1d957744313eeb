"""What became of each test, read from a record, and what differs between two of them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

#: The last line of a record, by which a run that crashed is told from one that ended.
END = "end"

#: How the reason begins when a test is skipped because the settings of the comparison say so.
LEFT_OUT = "Left out, because "

#: Events of which one decides about a test that has several, such as one with subtests.
_BY_WEIGHT = ("error", "fail", "unexpected success", "expected failure", "skip", "ok")

#: Events that make a test count as failing.
FAILING = frozenset({"error", "fail", "unexpected success"})

#: Such as ``setUpClass (basic.tests.ModelTest)``, which stands for all tests of the class.
_OF_CLASS = re.compile(r"\w+ \((?P<path>[\w.]+)\)")


class RecordUnusable(Exception):
    """Raised when a record cannot be compared; says what the run did."""


@dataclass(frozen=True)
class Outcome:
    """What became of one test."""

    event: str
    reasons: frozenset[str] = frozenset()
    traceback: str = field(default="", compare=False)

    def __str__(self) -> str:
        return ": ".join([self.event, *sorted(self.reasons)])

    @property
    def failing(self) -> bool:
        """Tell whether Django's suite would call it a failure."""
        return self.event in FAILING

    def and_also(self, other: Outcome) -> Outcome:
        """Return the outcome of a test of which both were reported."""
        first, second = sorted((self, other), key=lambda each: _BY_WEIGHT.index(each.event))
        return Outcome(
            first.event,
            first.reasons | second.reasons,
            "\n".join(filter(None, [first.traceback, second.traceback])),
        )


#: Outcomes by the id of the test, such as ``basic.tests.ModelTest.test_equality``.
Outcomes: TypeAlias = Mapping[str, Outcome]


def read(record: str, *, engine: str) -> Outcomes:
    """Return the outcomes of a record.

    Raises ``RecordUnusable`` when it breaks off, holds no test, or was made with another engine.
    """
    first, *lines, last = record.splitlines() if record.count("\n") > 1 else ("", "", "")
    if last != END:
        raise RecordUnusable("ended before its last test")
    if json.loads(first) != [f"{engine}.base"]:
        raise RecordUnusable(f"was to use {engine} and used {first}")
    if not lines:
        raise RecordUnusable("ran no test")
    found: dict[str, Outcome] = {}
    for line in lines:
        test, event, detail = json.loads(line)
        outcome = _outcome(event, detail)
        found[test] = found[test].and_also(outcome) if test in found else outcome
    return found


def _outcome(event: str, detail: str) -> Outcome:
    if event == "skip":
        return Outcome(event, frozenset({detail}))
    return Outcome(event, traceback=detail)


def module_of(test: str) -> str:
    """Return the module of Django's suite that a test is in."""
    of_class = _OF_CLASS.fullmatch(test)
    path = of_class["path"] if of_class else test
    return path.removeprefix("unittest.loader._FailedTest.").split(".")[0]


@dataclass(frozen=True)
class Difference:
    """A test with another outcome on our side; None where it did not run at all."""

    test: str
    stock: Outcome | None
    ours: Outcome | None


@dataclass
class Comparison:
    """The figures of one module, or of all."""

    tests: int = 0
    events: Counter[str] = field(default_factory=Counter)
    failing_in_both: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    differing: list[Difference] = field(default_factory=list)

    def add(self, other: Comparison) -> None:
        """Add the figures of another module."""
        self.tests += other.tests
        self.events.update(other.events)
        self.failing_in_both += other.failing_in_both
        self.left_out += other.left_out
        self.differing += other.differing

    def judge(self, test: str, stock: Outcome | None, ours: Outcome | None) -> None:
        """Count a test."""
        self.tests += 1
        if stock != ours or stock is None:
            self.differing.append(Difference(test, stock, ours))
            return
        self.events[stock.event] += 1
        if stock.failing:
            self.failing_in_both.append(test)
        self.left_out += [
            f"{test}: {each.removeprefix(LEFT_OUT)}"
            for each in stock.reasons
            if each.startswith(LEFT_OUT)
        ]


def compare(stock: Outcomes, ours: Outcomes) -> dict[str, Comparison]:
    """Compare test by test; return the figures of each module."""
    found: dict[str, Comparison] = {}
    for test in sorted({*stock, *ours}):
        comparison = found.setdefault(module_of(test), Comparison())
        comparison.judge(test, stock.get(test), ours.get(test))
    return found


def together(comparisons: Mapping[str, Comparison]) -> Comparison:
    """Return the figures of all modules."""
    total = Comparison()
    for comparison in comparisons.values():
        total.add(comparison)
    return total
