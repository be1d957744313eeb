"""Turns: contenders do the same one after the other, again and again, and what each took is compared."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from benchmarks.contenders import Contender

T = TypeVar("T")

#: What one turn came to: the seconds of each visit, those of all, and those of the processor.
Turn = dict[str, Any]


def take_turns(
    contenders: Sequence[Contender],
    *,
    rounds: int,
    first: int = 0,
    **visits: Any,  # noqa: ANN401, because it becomes JSON
) -> dict[str, list[Turn]]:
    """Let each visit in each round, the same users in the same order; return the turns of each.

    Their order is drawn by lot for each round, because what one leaves to do, such as a checkpoint or
    what a server does after it has answered, slows whoever comes next.
    """
    turns: dict[str, list[Turn]] = {each.name: [] for each in contenders}
    for number in range(first, first + rounds):
        for each in drawn(contenders, number):
            turns[each.name].append(each.ask("visit", seed=number, **visits))
    return turns


def drawn(contenders: Sequence[T], number: int) -> list[T]:
    """Return them in the order of one round, which is the same in each run."""
    return random.Random(number).sample(contenders, len(contenders))  # noqa: S311, because it is no secret


def middle(turn: Turn) -> float:
    """Return the seconds of a visit, the median."""
    return median(turn["each"])


def p99(turn: Turn) -> float:
    """Return the seconds within which 99 of 100 visits are answered."""
    return quantiles(turn["each"], n=100)[98]


def per_second(turn: Turn) -> float:
    """Return how many visits were answered in a second."""
    return len(turn["each"]) / turn["all"]


def processor(turn: Turn) -> float:
    """Return the seconds of the processor for a visit."""
    return turn["processor"] / len(turn["each"])


def ratio(ours: list[Turn], theirs: list[Turn], of: object = middle) -> float:
    """Return the median over the rounds of what is measured of one turn against the one beside it."""
    return median(of(our) / of(their) for our, their in zip(ours, theirs, strict=True))  # type: ignore[operator]


def typical(turns: list[Turn], of: object = middle) -> float:
    """Return the median over the rounds."""
    return median(of(turn) for turn in turns)  # type: ignore[operator]
