"""The floor: what a visit asks of SQLite, asked by ``sqlite3`` alone on files that stay open."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import OrderedDict
from pathlib import Path

from benchmarks.visits import LIST, choose

TABLE = """
CREATE TABLE apart_note (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT, title varchar(100) NOT NULL, text text NOT NULL,
    pinned bool NOT NULL, created datetime NOT NULL
)
"""
INSERT = "INSERT INTO apart_note (title, text, pinned, created) VALUES (?, ?, 0, '2026-01-01')"
SELECT = "SELECT id, title, pinned, created FROM apart_note ORDER BY id DESC LIMIT 20"

#: The open connections, the one that was used last at the end; and all names.
_open: OrderedDict[str, sqlite3.Connection] = OrderedDict()
_names: list[str] = []

_MOST = int(os.environ.get("BENCH_MAX_OPEN", "1000"))

# SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, which Python names since 3.12.
_NO_CKPT_ON_CLOSE = 1006


def fill(*, users: int, notes: int) -> list[str]:
    """Make a file for each user with so many notes; return their names."""
    for number in range(1, users + 1):
        _names.append(str(number))
        connection = _connection(str(number))
        connection.executescript(f"PRAGMA journal_mode=WAL; {TABLE}")
        # By a commit each, because one that lengthens the log of a file takes longer.
        connection.executemany(INSERT, ((f"Note {each}", "x" * 200) for each in range(notes)))
    return _names


def _connection(name: str) -> sqlite3.Connection:
    """Return the open connection of a user; another one is closed for it where that must be."""
    found = _open.pop(name, None)
    if found is None:
        if len(_open) >= _MOST:
            _open.popitem(last=False)[1].close()
        path = Path(os.environ["BENCH_DIRECTORY"], f"{name}.sqlite3")
        found = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        if hasattr(found, "setconfig"):  # Python 3.12
            found.setconfig(_NO_CKPT_ON_CLOSE, True)
        found.executescript(
            f"PRAGMA synchronous={os.environ['BENCH_SYNCHRONOUS']}; PRAGMA wal_autocheckpoint=64;"
        )
    _open[name] = found
    return found


def visit(
    *,
    path: str,
    times: int,
    among: int = 0,
    order: str = "uniform",
    seed: int = 0,
    threads: int = 1,
) -> dict[str, object]:
    """Do what a visit asks of the database; always in one thread."""
    work = _list if path == LIST else _create
    chosen = choose(_names[: among or None], times=times, order=order, seed=seed)
    seconds = []
    begun, worked = time.perf_counter(), time.process_time()
    for name in chosen:
        started = time.perf_counter()
        work(_connection(name))
        seconds.append(time.perf_counter() - started)
    return {
        "each": seconds,
        "all": time.perf_counter() - begun,
        "processor": time.process_time() - worked,
    }


def _list(connection: sqlite3.Connection) -> None:
    connection.execute(SELECT).fetchall()


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(INSERT, ("A new note", "x" * 200))
