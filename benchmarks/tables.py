"""Writes kept results into Markdown, between markers, so that pages say what was measured and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.catalogue import BENCHMARKS
from benchmarks.figures import Panel, amount, side_by_side

ROOT = Path(__file__).parents[1]

#: Where the markers stand: `<!-- figures -->` for the headlines of all benchmarks, and
#: `<!-- figures NAME -->` for everything that one found; both end with `<!-- end of figures -->`.
PAGES = (ROOT / "README.md", ROOT / "docs" / "explanation" / "performance.md")

_MARKED = re.compile(r"(<!-- figures(?: (\w+))? -->\n).*?(<!-- end of figures -->)", re.DOTALL)

Result = Mapping[str, Any]


def fill_pages(results: Path) -> None:
    """Write the results into all pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text(), results))


def filled(text: str, results: Path) -> str:
    """Return a page's text with what the results say between its markers."""

    def fill(marked: re.Match[str]) -> str:
        first, name, last = marked.groups()
        return f"{first}{_whole(results, name) if name else _headlines(results)}{last}"

    return _MARKED.sub(fill, text)


def _headlines(results: Path) -> str:
    """Return the headlines of all benchmarks that have been kept, in the catalogue's order."""
    kept = [_read(results, name) for name in BENCHMARKS if (results / f"{name}.json").exists()]
    rows = [_row(figure) for result in kept for figure in _headlines_of(result["figures"])]
    return f"{_table(['', 'measured', 'must be'], rows)}\n\n{_machines(kept)}\n"


def _headlines_of(figures: list[Result]) -> list[Result]:
    marked = [figure for figure in figures if figure["headline"]]
    return marked or [figure for figure in figures if figure["target"]]


def _whole(results: Path, name: str) -> str:
    """Return all that is known of a benchmark; nothing if no results of it have been kept."""
    if not (results / f"{name}.json").exists():
        return ""
    result = _read(results, name)
    rows = [[*_row(figure)[:2], _floor(figure), *_row(figure)[2:]] for figure in result["figures"]]
    text = [_table(["", "measured", "floor", "must be"], rows)]
    if result["panels"]:
        heads, *lines = side_by_side([Panel(**panel) for panel in result["panels"]])
        text.append(_table(heads, lines))
    if result["sizes"]:
        text.append(", ".join(f"{what}: {size}" for what, size in result["sizes"].items()) + ".")
    text += [f"{who}: {what}" for who, what in result["remarks"].items()]
    text += [f"Without {who}: {why}" for who, why in result["absent"].items()]
    return "\n\n".join([*text, _machines([result])]) + "\n"


def _row(figure: Result) -> list[str]:
    target = f"{figure['target']}{', **missed**' if figure['missed'] else ''}"
    return [figure["what"].strip(), f"{amount(figure['value'])} {figure['unit']}".rstrip(), target]


def _floor(figure: Result) -> str:
    return "" if figure["floor"] is None else f"{amount(figure['floor'])} {figure['unit']}".rstrip()


def _table(heads: list[str], rows: Iterable[list[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines
    )


def _machines(kept: list[Result]) -> str:
    """Return what the results were measured on; a line for each machine or set of versions."""
    line = (
        "Measured on {processor}, {cores} cores, {system}, "
        "with Python {python}, Django {django}, SQLite {sqlite} and PostgreSQL {postgresql}."
    )
    return "\n".join(dict.fromkeys(line.format(**result["machine"]) for result in kept))


def _read(results: Path, name: str) -> Result:
    found: Result = json.loads((results / f"{name}.json").read_text())
    return found
