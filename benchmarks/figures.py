"""What a benchmark found, with the target beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

#: The unit of figures that say how many times as much one contender takes as another.
RATIO = "times"

_THREE_DIGITS = 100


@dataclass(frozen=True)
class Figure:
    """One line: what was measured, how much it is, must be, and would be if dsud cost nothing."""

    what: str
    value: float
    unit: str
    at_most: float | None = None
    floor: float | None = None
    at_least: float | None = None
    #: Whether it is the same in every run and on every machine, as what is counted is.
    exact: bool = False

    @property
    def missed(self) -> bool:
        """Tell whether it is not what it must be."""
        too_much = self.at_most is not None and self.value > self.at_most
        too_little = self.at_least is not None and self.value < self.at_least
        return too_much or too_little

    @property
    def scale(self) -> float | None:
        """Return by what it is divided to be comparable between machines: its floor, unless it is a ratio."""
        return 1.0 if self.unit == RATIO else self.floor

    @property
    def target(self) -> str:
        """Return what it must be, for a reader."""
        limits = [("≤", self.at_most), ("≥", self.at_least)]
        return " ".join(
            f"{sign} {amount(limit)} {self.unit}".rstrip()
            for sign, limit in limits
            if limit is not None
        )


@dataclass(frozen=True)
class Panel:
    """A part of a chart: a bar for each contender, in one unit."""

    title: str
    unit: str
    bars: Mapping[str, float]
    #: Whether the scale is logarithmic, for what differs by a hundred times.
    log: bool = False


@dataclass(frozen=True)
class Report:
    """The figures of one benchmark."""

    title: str
    figures: list[Figure]
    panels: list[Panel] = field(default_factory=list)
    #: How much there was of what: users, rows, rounds.
    sizes: Mapping[str, int | str] = field(default_factory=dict)
    #: Who could not take part, and why.
    absent: Mapping[str, str] = field(default_factory=dict)
    #: What a contender did that no figure says, such as which errors it raised.
    remarks: Mapping[str, str] = field(default_factory=dict)

    @property
    def missed(self) -> list[Figure]:
        """Return the figures that are not what they must be."""
        return [figure for figure in self.figures if figure.missed]

    def as_json(self) -> dict[str, object]:
        """Return the figures as plain data."""
        verdicts = [{"target": each.target, "missed": each.missed} for each in self.figures]
        found = asdict(self)
        found["figures"] = [
            figure | verdict for figure, verdict in zip(found["figures"], verdicts, strict=True)
        ]
        return found

    def show(self, console: Console) -> None:
        """Print the table."""
        table = Table(title=self.title, title_justify="left")
        table.add_column("what")
        for column in ("measured", "floor", "target", "verdict"):
            table.add_column(column, justify="right")
        for figure in self.figures:
            floor = "" if figure.floor is None else f"{amount(figure.floor)} {figure.unit}"
            measured = f"{amount(figure.value)} {figure.unit}"
            verdict, style = _verdict(figure)
            table.add_row(figure.what, measured, floor, figure.target, verdict, style=style)
        console.print(table)
        if self.panels:
            self._show_panels(console)
        if self.sizes:
            console.print(", ".join(f"{name}: {size}" for name, size in self.sizes.items()))
        for name, remark in self.remarks.items():
            console.print(f"{name}: {remark}")
        for name, reason in self.absent.items():
            console.print(f"Without {name}: {reason}", style="yellow")

    def _show_panels(self, console: Console) -> None:
        heads, *lines = side_by_side(self.panels)
        table = Table(title="Side by side", title_justify="left")
        for number, head in enumerate(heads):
            table.add_column(head, justify="right" if number else "left")
        for line in lines:
            table.add_row(*line)
        console.print(table)


def side_by_side(panels: Sequence[Panel]) -> list[list[str]]:
    """Return the panels as a table: a line of heads, and a line for each contender.

    Or a line for each panel, where that makes fewer columns.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.bars))
    heads = [f"{panel.title}, {panel.unit}".removesuffix(", ") for panel in panels]
    lines = [
        [head, *(amount(panel.bars[name]) if name in panel.bars else "" for name in names)]
        for head, panel in zip(heads, panels, strict=True)
    ]
    by_panel = [["", *names], *lines]
    if len(panels) > len(names):
        return by_panel
    return [list(line) for line in zip(*by_panel, strict=True)]


def amount(number: float) -> str:
    """Return a number with three digits that count, and those before the point in any case."""
    return f"{number:,.0f}" if abs(number) >= _THREE_DIGITS else f"{number:.3g}"


def _verdict(figure: Figure) -> tuple[str, str]:
    """Return the verdict and its style."""
    if not figure.target:
        return "", ""
    return ("missed", "bold red") if figure.missed else ("pass", "")
