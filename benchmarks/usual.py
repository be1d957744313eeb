"""What each ratio usually is in a quick run, and how far from that it may be before something is wrong.

The targets say what is good enough; a figure that is far better than its target could become twice as bad unseen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, Report, amount

#: How many times what is usual a ratio may be: what costs twice as much misses it by a third.
SLACK = 1.5

#: How often a benchmark may be repeated until no figure misses; what got slower does so each time.
ATTEMPTS = 3

KEPT = Path(__file__).with_suffix(".json")

#: The ratios of each benchmark, by what the figures say that they are.
Usual = Mapping[str, Mapping[str, float]]


def read(path: Path = KEPT) -> Usual:
    """Return what was recorded."""
    found: Usual = json.loads(path.read_text())
    return found


def record(name: str, reports: Sequence[Report], path: Path = KEPT) -> None:
    """Write down the medians of several quick runs of a benchmark."""
    known = dict(read(path)) if path.exists() else {}
    known[name] = {
        figures[0].what: float(f"{median(each.value / (each.scale or 1) for each in figures):.3g}")
        for figures in zip(*(report.figures for report in reports), strict=True)
        if figures[0].target and figures[0].scale and not figures[0].exact
    }
    path.write_text(json.dumps(known, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def attempts(
    name: str, run: Callable[[], Report], usual: Usual, *, say: Callable[[str], None]
) -> Report:
    """Run a benchmark until nothing misses, a few times at most; return the last report.

    Its limits are those of a quick run: exact for what is counted, what is usual for ratios, and
    none for what depends on the machine.
    """
    report = _limited(run(), usual.get(name, {}))
    for _ in range(ATTEMPTS - 1):
        if not report.missed:
            break
        misses = ", ".join(f"{each.what.strip()}: {amount(each.value)}" for each in report.missed)
        say(f"{name} is measured again, because of {misses}")
        report = _limited(run(), usual.get(name, {}))
    return report


def _limited(report: Report, usual: Mapping[str, float]) -> Report:
    return replace(report, figures=[_with_limit(each, usual) for each in report.figures])


def _with_limit(figure: Figure, usual: Mapping[str, float]) -> Figure:
    """Return the figure with the limit of a quick run instead of its target."""
    if figure.exact:
        return figure
    if not figure.scale:
        return replace(figure, at_most=None, at_least=None)
    most, least = figure.at_most, figure.at_least
    if figure.what in usual:  # Else it is new, or has a new name, and nobody has recorded it.
        expected = usual[figure.what] * figure.scale
        most, least = most and expected, least and expected
    return replace(figure, at_most=most and most * SLACK, at_least=least and least / SLACK)
