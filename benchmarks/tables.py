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

#: What the README shows: a figure of a benchmark, and how it says that to whoever reads nothing else.
HEADLINES = (
    (
        "request",
        "list: dsud against plain, 5 processes of each",
        "a page of twenty rows, against plain Django with one SQLite database",
    ),
    ("request", "create, NORMAL: dsud against plain, 5 processes of each", "a new row, likewise"),
    (
        "scale",
        "list, uniform: 100,000 against 10",
        "a page with 100,000 registered users, against ten",
    ),
    (
        "cold",
        "NORMAL: the first list, the same statement, against bare open, pragmas and query",
        "the first query of a user who comes back, against bare SQLite",
    ),
    (
        "provision",
        "django-sqlite-user-db 0.1.2 against dsud",
        "a new user's database, faster than by django-sqlite-user-db 0.1.2",
    ),
    (
        "writes",
        "FULL: notes in a second at 8 writers, against one SQLite database",
        "durable rows of eight writers, against one SQLite database",
    ),
    (
        "writes",
        "FULL: notes in a second at 8 writers, against one PostgreSQL database",
        "the same, against one PostgreSQL database",
    ),
    (
        "fleet",
        "replay against the bare loop",
        "a migration of 10,000 databases, against the same statements by bare SQLite",
    ),
    (
        "fleet",
        "nothing to do, by the ledger, 100,000 databases",
        "a deploy with nothing to migrate, 100,000 databases",
    ),
    ("memory", "    memory for each", "memory of an open database"),
    (
        "isolation",
        "dsud: answers with rows of another user",
        "answers with another user's rows, 16 threads",
    ),
)

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
    """Return the headlines of all benchmarks whose results have been kept."""
    found = {
        name: _read(results, name) for name in BENCHMARKS if (results / f"{name}.json").exists()
    }
    rows = [
        [words, *_row(_first(found[name], what))[1:]]
        for name, what, words in HEADLINES
        if name in found
    ]
    return f"{_table(['', 'measured', 'must be'], rows)}\n\n{_machines(list(found.values()))}\n"


def _first(result: Result, what: str) -> Result:
    """Return the first figure of a name; `StopIteration` says that a headline names none."""
    figures: list[Result] = result["figures"]
    return next(figure for figure in figures if figure["what"] == what)


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
