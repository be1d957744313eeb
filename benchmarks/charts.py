"""A chart of what a benchmark found: a panel for each kind of work, a bar for each contender."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from benchmarks.figures import Panel, Report

OURS, OTHERS, FLOOR = "#1f6f4a", "#9aa5b1", "#d9c27e"

# Without dates and random names, so that the same figures give the same file.
mpl.rcParams["svg.hashsalt"] = "dsud"
mpl.rcParams["svg.fonttype"] = "none"


def draw(report: Report, path: Path, *, footer: str) -> None:
    """Write the panels of a report to an SVG file, but for those in which there is nothing to see."""
    panels = [panel for panel in report.panels if any(panel.bars.values())]
    if not panels:
        return
    heights = [0.6 + 0.32 * len(panel.bars) for panel in panels]
    drawing = Drawing(figsize=(8, sum(heights) + 0.9), layout="constrained")
    drawing.suptitle(report.title, fontsize=11, fontweight="bold")
    every = drawing.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    for axes, panel in zip(every[:, 0], panels, strict=True):
        _draw_panel(axes, panel)
    drawing.supxlabel(footer, fontsize=7, color="#666666")
    drawing.savefig(path, format="svg", metadata={"Date": None})


def _draw_panel(axes: Axes, panel: Panel) -> None:
    names, values = list(panel.bars), list(panel.bars.values())
    bars = axes.barh(names, values, color=[_colour(name) for name in names], height=0.7)
    axes.bar_label(bars, labels=[f"{value:,.3g} {panel.unit}" for value in values], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.18)
    if panel.log:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    axes.set_title(panel.title, fontsize=9, loc="left")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _colour(name: str) -> str:
    if name.startswith("dsud"):
        return OURS
    return FLOOR if name.startswith("bare") else OTHERS
