"""Every user's file read directly, when all is over: whose rows are in it, and what ``default`` says."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

#: The first word of what each row says.
STAMPS = """
    SELECT substr(text, 1, instr(text || ' ', ' ') - 1) FROM diary_entry
    UNION ALL SELECT substr(name, 1, instr(name || ' ', ' ') - 1) FROM diary_label
    UNION ALL SELECT stamp FROM diary_marking
"""
TOKENS = "SELECT token FROM diary_entry WHERE token != ''"
RECEIPTS = "SELECT token, stamp FROM diary_receipt"
USERS = "SELECT id, username FROM auth_user"
IDENTITY = "SELECT user_key FROM dsud_identity"


@dataclass
class Findings:
    """What is in the files."""

    files: int = 0
    rows: int = 0
    foreign: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, str] = field(default_factory=dict)


def verify(directory: Path) -> tuple[Findings, Counter[str]]:
    """Read all files of a run, and return what is in them and how the two sides disagree."""
    default = directory / "default.sqlite3"
    users = {str(pk): name for pk, name in _rows(default, USERS)}
    findings = Findings()
    for path in sorted((directory / "user_databases").glob("??/*/*/db.sqlite3")):
        _read(path, users, findings)
    return findings, _disagreements(dict(_rows(default, RECEIPTS)), findings.tokens)


def _read(path: Path, users: dict[str, str], findings: Findings) -> None:
    """Count the rows in one file that are not its user's."""
    key, place = path.parents[1].name, path.parent.name
    findings.files += 1
    if list(_rows(path, IDENTITY)) != [(key,)]:
        findings.foreign["file of another user"] += 1
    stamps = Counter(stamp for (stamp,) in _rows(path, STAMPS))
    findings.rows += stamps.total()
    if place.isdecimal() and key in users:
        own = users[key]
    else:
        # In the trash: the user's name is gone, but all rows must be one and the same user's.
        own = next((stamp for stamp, _ in stamps.most_common() if stamp.startswith(f"{key}.")), "")
    if foreign := stamps.total() - stamps[own]:
        findings.foreign["rows in a file"] += foreign
    findings.tokens.update(dict.fromkeys((token for (token,) in _rows(path, TOKENS)), own))


def _disagreements(receipts: dict[str, str], tokens: dict[str, str]) -> Counter[str]:
    """Compare what was written on both sides of the blocks."""
    found: Counter[str] = Counter()
    found["in default only"] = len(receipts.keys() - tokens.keys())
    found["in a user's database only"] = len(tokens.keys() - receipts.keys())
    found["of different users"] = sum(
        tokens[token] != stamp for token, stamp in receipts.items() if token in tokens
    )
    return +found


def _rows(path: Path, query: str) -> Iterator[tuple[str, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as connection:
        yield from connection.execute(query)
