"""The floor: what bare `sqlite3`, and the file system, take for the same; runs without Django."""

from __future__ import annotations

import os
import resource
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from time import perf_counter
from urllib.parse import quote

from benchmarks.looking import handles, resident
from benchmarks.pace import Written, measured, together

#: Where what is made here goes.
PLACE = Path(os.environ["BENCH_DIRECTORY"])

#: A statement and its parameters.
Statement = tuple[str, list[object]]

_numbers = count(1)

# SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, which Python names since 3.12.
_NO_CKPT_ON_CLOSE = 1006


def open_database(path: str | Path, *, synchronous: str) -> sqlite3.Connection:
    """Open an existing file with the pragmas that Django and dsud set, in one script.

    Closing it leaves the -wal, as dsud does.
    """
    uri = f"file:{quote(os.fsencode(path))}?mode=rw"
    raw = sqlite3.connect(
        uri,
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=20,
        cached_statements=64,
    )
    if sys.version_info >= (3, 12):
        raw.setconfig(_NO_CKPT_ON_CLOSE, True)
    raw.executescript(
        "PRAGMA foreign_keys = ON;"
        "PRAGMA legacy_alter_table = OFF;"
        f"PRAGMA synchronous = {synchronous};"
        "PRAGMA cache_size = -512;"
        "PRAGMA wal_autocheckpoint = 64;"
        "PRAGMA secure_delete = ON;"
        "PRAGMA mmap_size = 0;"
    )
    return raw


# Provisioning


def write_template(
    *, template: str, times: int, syncs_directory: bool, query: str = "", apart: bool = False
) -> list[float]:
    """Write a template's bytes so many times, durably, under new names; ask each if told.

    Return how long each took. Reading the template is not timed. Where each is ``apart``, a directory
    is made for its owner, and one in there that is renamed with it, because SQLite's files belong together.
    """
    PLACE.mkdir(exist_ok=True)
    data = _in_wal_mode(Path(template).read_bytes())
    written = _written_apart if apart else _written
    return [written(data, syncs_directory=syncs_directory, query=query) for _ in range(times)]


def _in_wal_mode(data: bytes) -> bytes:
    """Return the same database in WAL mode (https://www.sqlite.org/fileformat.html, offset 18)."""
    return data[:18] + b"\x02\x02" + data[20:]


def _written(data: bytes, *, syncs_directory: bool, query: str) -> float:
    path = PLACE / f"{next(_numbers)}.sqlite3"
    aside = path.with_suffix(".new")
    begun = perf_counter()
    _write_synced(aside, data)
    aside.rename(path)
    return _synced_and_asked(path, PLACE if syncs_directory else None, query, begun)


def _written_apart(data: bytes, *, syncs_directory: bool, query: str) -> float:
    home = PLACE / str(next(_numbers))
    begun = perf_counter()
    home.mkdir(0o700)
    aside = home / "new"
    aside.mkdir(0o700)
    _write_synced(aside / "db.sqlite3", data)
    aside.rename(home / "1")
    path = home / "1" / "db.sqlite3"
    return _synced_and_asked(path, home if syncs_directory else None, query, begun)


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, data)
    os.fsync(descriptor)
    os.close(descriptor)


def _synced_and_asked(path: Path, directory: Path | None, query: str, begun: float) -> float:
    if directory is not None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)
    if not query:
        return perf_counter() - begun
    raw = open_database(path, synchronous="FULL")
    raw.execute(query).fetchall()
    seconds = perf_counter() - begun
    raw.close()
    return seconds


# Cold visits


def visit(
    *, paths: Iterable[str], read: Statement, write: Statement, synchronous: str
) -> dict[str, list[float]]:
    """Open each file, read, write and write again; return how long each step took."""
    seconds: dict[str, list[float]] = {"read": [], "write": [], "again": []}
    reading, writing = _as_python_writes_it(read), _as_python_writes_it(write)
    for path in paths:
        begun = perf_counter()
        raw = open_database(path, synchronous=synchronous)
        raw.execute(*reading).fetchall()
        seconds["read"].append(perf_counter() - begun)
        for step in ("write", "again"):
            begun = perf_counter()
            raw.execute(*writing).fetchall()
            seconds[step].append(perf_counter() - begun)
        raw.close()
    return seconds


def _as_python_writes_it(statement: Statement) -> Statement:
    sql, parameters = statement
    return sql.replace("%s", "?"), parameters


def tidy_up(*, paths: Iterable[str]) -> None:
    """Open and close each file so that neither -wal nor -shm is left."""
    for path in paths:
        with closing(sqlite3.connect(path, isolation_level=None)) as raw:
            raw.execute("SELECT count(*) FROM sqlite_master").fetchall()


# Writers


def make_files(*, template: str, times: int) -> list[str]:
    """Write so many databases and return where they are."""
    first = next(_numbers)
    write_template(template=template, times=times, syncs_directory=False)
    return [str(PLACE / f"{first + 1 + each}.sqlite3") for each in range(times)]


def write(
    *, paths: Sequence[str], statement: Statement, synchronous: str, seconds: float, at: float
) -> dict[str, object]:
    """Write for so many seconds from a moment on, with a thread and a connection for each file."""
    with ThreadPoolExecutor(len(paths)) as executor:
        work = [
            executor.submit(
                _write, path, statement, synchronous=synchronous, seconds=seconds, at=at
            )
            for path in paths
        ]
        return together([each.result() for each in work])


def _write(
    path: str, statement: Statement, *, synchronous: str, seconds: float, at: float
) -> Written:
    sql, parameters = _as_python_writes_it(statement)
    with closing(open_database(path, synchronous=synchronous)) as raw:
        raw.execute(sql, parameters).fetchall()
        return measured(lambda: raw.execute(sql, parameters).fetchall(), seconds=seconds, at=at)


# Many at once


def hold(
    *, paths: Sequence[str], read: Statement, write: Statement, most: int = 0
) -> dict[str, int]:
    """Read and write in each file, twice, and keep as many open as may be; return what this takes, in bytes.

    Where not all may be open, the one that was opened first is closed for the next.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    before, opened = resident(), dict[str, sqlite3.Connection]()
    for path in [*paths, *paths]:
        raw = opened.get(path)
        if raw is None:
            if len(opened) == (most or len(paths)):
                opened.pop(next(iter(opened))).close()
            raw = opened[path] = open_database(path, synchronous="NORMAL")
        raw.execute(*_as_python_writes_it(read)).fetchall()
        raw.execute(*_as_python_writes_it(write)).fetchall()
    found = {"grown": resident() - before, "handles": handles(), "opened": len(opened)}
    for raw in opened.values():
        raw.close()
    return found
