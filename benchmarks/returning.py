"""What it costs a site that a user comes back whose database is closed; runs in the site's process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, cast

from django.contrib.auth import get_user_model
from django.db import connections, router

from benchmarks import filling, floor
from benchmarks.diary import acts, people
from benchmarks.diary.views import note_model
from benchmarks.visits import ACCOUNT, visit_once

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.db.backends.base.base import BaseDatabaseWrapper

    from dsud.engines.sqlite.engine import Engine

#: A statement and its parameters.
Statement = tuple[str, list[str | int | bool | None]]

#: What is done first and then, by its name.
Steps = Mapping[str, Callable[["AbstractBaseUser"], object]]


class Visitors:
    """The users of the site, who come one after the other, again and again."""

    def __init__(self) -> None:
        self.users: list[AbstractBaseUser] = []
        #: Somebody whose requests come in between.
        self.passer_by: people.Visitor = []

    def waiting(self, times: int) -> list[AbstractBaseUser]:
        """Return those who come next."""
        return self.users[:times]

    def next(self, times: int) -> list[AbstractBaseUser]:
        """Let so many come, and queue again."""
        coming, self.users = self.users[:times], self.users[times:]
        self.users += coming
        return coming


visitors = Visitors()


def prepare(*, users: int, notes: int) -> None:
    """Make the site and its users, and close what that has opened."""
    visitors.passer_by = filling.fill(users=users, notes=notes)[0]
    visitors.users = list(get_user_model().objects.order_by("pk"))
    close()


def close() -> None:
    """Close everything that may be open to the rows of users."""
    if acts.is_ours():
        from dsud.pool import pool

        pool.close_idle()
        return
    for connection in connections.all(initialized_only=True):
        connection.close()


def pass_by() -> None:
    """Answer a request of somebody who needs no rows of theirs, as a process that serves does.

    What is measured next finds the caches of the processor as it would between requests.
    """
    visit_once(ACCOUNT, visitors.passer_by)


# What is measured


def visit(*, times: int, stays: bool = False) -> dict[str, list[float]]:
    """Have so many users list their notes and write two; return how long each step took.

    Their databases are closed before, unless they stay: then they were here just now.
    """
    return _timed(
        times, {"read": acts.listed, "write": acts.write, "again": acts.write}, stays=stays
    )


def visit_with(*, read: Statement, write: Statement, times: int) -> dict[str, list[float]]:
    """Do the same with statements that are given, as bare SQLite does."""
    first, then = _running(*read), _running(*write)
    return _timed(times, {"read": first, "write": then, "again": then}, stays=False)


def visit_bare(
    *, read: floor.Statement, write: floor.Statement, synchronous: str, times: int
) -> dict[str, list[float]]:
    """Do the same by ``sqlite3`` alone, in this process."""
    seconds: dict[str, list[float]] = {"read": [], "write": [], "again": []}
    for path in _closed_files(times):
        found = floor.visit(paths=[path], read=read, write=write, synchronous=synchronous)
        for step, each in found.items():
            seconds[step] += each
    return seconds


def _closed_files(times: int) -> Iterator[str]:
    """Yield the files of those who come next, each after a request of somebody else."""
    files = paths(times=times)
    skip(times=times)
    for path in files:
        pass_by()
        yield path


def visit_stock(
    *, read: Statement, write: Statement, synchronous: str, times: int
) -> dict[str, list[float]]:
    """Do the same by connections of Django's own, each made afresh for its file."""
    seconds: dict[str, list[float]] = {"read": [], "write": [], "again": []}
    for path in _closed_files(times):
        begun = perf_counter()
        connection = _stock(path, synchronous=synchronous)
        _execute(connection, read)
        seconds["read"].append(perf_counter() - begun)
        for step in ("write", "again"):
            begun = perf_counter()
            _execute(connection, write)
            seconds[step].append(perf_counter() - begun)
        _leave_log(connection)
        connection.close()
    return seconds


def _stock(path: str, *, synchronous: str) -> BaseDatabaseWrapper:
    """Return Django's connection to a file, with our pragmas where Django has a setting for them."""
    from django.db.backends.sqlite3.base import DatabaseWrapper

    pragmas = f"""
        PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -512; PRAGMA mmap_size = 0;
        PRAGMA wal_autocheckpoint = 64; PRAGMA secure_delete = ON;
    """
    options = {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": pragmas}
    default = connections.settings["default"]
    return DatabaseWrapper({**default, "NAME": path, "OPTIONS": options}, "stock")


def _leave_log(connection: BaseDatabaseWrapper) -> None:
    from dsud.engines.sqlite.connection import leave_log_on_close

    leave_log_on_close(connection.connection)


def _execute(connection: BaseDatabaseWrapper, statement: Statement) -> None:
    with connection.cursor() as cursor:
        cursor.execute(*statement)
        cursor.fetchall()


def _timed(times: int, steps: Steps, *, stays: bool) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for user in visitors.next(times):
        pass_by()
        close()
        if stays:
            with people.acting_as(user):
                acts.listed(user)
        for name, step in steps.items():
            begun = perf_counter()
            with people.acting_as(user):
                step(user)
            seconds[name].append(perf_counter() - begun)
    close()
    return seconds


def _running(
    sql: str, parameters: list[str | int | bool | None]
) -> Callable[[AbstractBaseUser], object]:
    notes = note_model()

    def run(user: AbstractBaseUser) -> None:
        _execute(connections[router.db_for_write(notes)], (sql, parameters))

    return run


def statements() -> dict[str, Statement]:
    """Return the statements behind a list and a new note, as the ORM makes them."""
    found: dict[str, Statement] = {}
    user = get_user_model().objects.order_by("pk")[0]
    with people.acting_as(user):
        connection = connections[router.db_for_write(note_model())]
        for name, step in (("read", acts.listed), ("write", acts.write)):
            with connection.execute_wrapper(_noting(found, name)):
                step(user)
    close()
    return found


def _noting(found: dict[str, Statement], name: str) -> Callable[..., object]:
    def note(execute: Callable[..., object], sql: str, params: object, *rest: object) -> object:
        found[name] = (sql, list(params or ()))  # type: ignore[call-overload]
        return execute(sql, params, *rest)

    return note


def template() -> str:
    """Return where the template of new databases is."""
    (path,) = _engine().location.joinpath(".template").glob("*.sqlite3")
    return str(path)


def paths(*, times: int) -> list[str]:
    """Return the files of those who come next, which are closed."""
    return [file_of(user) for user in visitors.waiting(times)]


def file_of(user: AbstractBaseUser) -> str:
    """Return the file of a user of ours."""
    from dsud.context import user_key

    return str(_engine().path_of(user_key(user)))


def skip(*, times: int) -> None:
    """Let those pass whose files somebody else has visited."""
    visitors.next(times)


def _engine() -> Engine:
    from dsud.engines import engine

    return cast("Engine", engine())
