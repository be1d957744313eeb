"""What other processes are told to do; functions of a module, because they are named to them."""

from __future__ import annotations

import os
from contextlib import ExitStack

from django.db import transaction
from django.db.models import F

from dsud.engines import engine
from dsud.exceptions import DSUDError
from dsud.testing.conformance import schema
from dsud.testing.conformance.acting import as_user, prepare, read, write

#: What stays open until the process is told otherwise, or killed.
_held = ExitStack()


def look(user_key: str) -> tuple[bool, list[str], list[str] | str]:
    """Return whether the database exists, all keys, and the texts or the name of the error."""
    try:
        texts: list[str] | str = read(user_key)
    except DSUDError as error:
        texts = type(error).__name__
    return engine().exists(user_key), sorted(engine().keys()), texts


def take_lock(user_key: str) -> None:
    """Take a user's lock and keep it."""
    _held.enter_context(engine().lock(user_key))


def let_go() -> None:
    """Let go of everything that is kept."""
    _held.close()


def stage(user_key: str, *texts: str) -> None:
    """Stage a database with entries, and neither publish nor discard it."""
    fingerprint = prepare()
    take_lock(user_key)
    _held.callback(engine().stage(user_key, fingerprint).discard)
    write(user_key, *texts)


def begin(user_key: str, *, text: str) -> None:
    """Write an entry in a transaction that stays open."""
    connection = _held.enter_context(as_user(user_key))
    _held.enter_context(transaction.atomic(using=connection.alias))
    schema.rows("Entry").create(text=text)


def append(user_key: str, *, name: str, times: int) -> None:
    """Write many entries, each in a transaction that also counts in the first one."""
    for number in range(times):
        with as_user(user_key) as connection, transaction.atomic(using=connection.alias):
            schema.rows("Entry").create(text=f"{name} {number}")
            schema.rows("Entry").filter(text="counter").update(amount=F("amount") + 1)


def write_around_a_fork(user_key: str) -> int:
    """Write before a fork and on both sides of it, and return the exit code of the child."""
    write(user_key, "before")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            write(user_key, "child")
            status = 0
        finally:
            os._exit(status)
    write(user_key, "parent")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
