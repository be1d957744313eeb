"""What a benchmark found, with the target beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One line: what was measured, how much it is, may be, and would be if dsud cost nothing."""

    what: str
    value: float
    unit: str
    at_most: float | None = None
    floor: float | None = None

    @property
    def misses(self) -> bool:
        """Tell whether it is more than it may be."""
        return self.at_most is not None and self.value > self.at_most

    @property
    def verdict(self) -> str:
        """Return what is printed beside it."""
        if self.at_most is None:
            return ""
        return "missed" if self.misses else "pass"


@dataclass(frozen=True)
class Report:
    """The figures of one benchmark."""

    title: str
    figures: list[Figure]

    @property
    def misses(self) -> bool:
        """Tell whether any figure is more than it may be."""
        return any(figure.misses for figure in self.figures)

    def as_json(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return asdict(self)

    def show(self) -> None:
        """Print the table."""
        table = Table(title=self.title)
        table.add_column("what")
        table.add_column("measured", justify="right")
        for column in ("floor", "at most", "verdict"):
            table.add_column(column, justify="right")
        for figure in self.figures:
            limits = (
                "" if limit is None else f"{limit:.3g} {figure.unit}"
                for limit in (figure.floor, figure.at_most)
            )
            measured = f"{figure.value:.2f} {figure.unit}"
            style = "bold red" if figure.misses else ""
            table.add_row(figure.what, measured, *limits, figure.verdict, style=style)
        Console().print(table)
