"""What the tests do as users, in this process and in others: make, write, read."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from dsud.connections import alias_of, release
from dsud.context import Activation, Block
from dsud.engines import engine
from dsud.exceptions import UserDatabaseDoesNotExist
from dsud.leases import Force
from dsud.pool import pool
from dsud.testing.conformance import schema

R = TypeVar("R")

#: Seconds after which what should have happened has not, and in which what must not would have.
LONG = 60.0
SHORT = 0.3


class Reached(threading.local):
    """The aliases that this thread has reached."""

    def __init__(self) -> None:
        self.aliases: set[str] = set()


_reached = Reached()


def connection_of(user_key: str) -> BaseDatabaseWrapper:
    """Return this thread's Django connection to a user's database."""
    _reached.aliases.add(alias_of(user_key))
    return connections[alias_of(user_key)]


@contextmanager
def as_user(user_key: str) -> Iterator[BaseDatabaseWrapper]:
    """Be a user, known by the key only, and get the connection to that user's database."""
    with Block(Activation(key=user_key)):
        yield connection_of(user_key)


def part() -> None:
    """Leave nothing open or remembered in this thread, because the next test has another engine."""
    release(force=Force.EVERYTHING)
    while _reached.aliases:
        alias = _reached.aliases.pop()
        connections[alias].close()
        del connections[alias]
    pool.close_idle()


def in_thread(function: Callable[[], R]) -> R:
    """Run a function in a thread of its own, and return or raise what it does."""

    def run() -> R:
        try:
            return function()
        finally:
            part()

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(run).result(LONG)


def prepare(fingerprint: str = schema.FIRST) -> str:
    """Have the template built, as provisioning does before it stages."""
    if not engine().has_template(fingerprint):
        fill = functools.partial(schema.fill, fingerprint=fingerprint)
        engine().build_template(fingerprint, fill)
    return fingerprint


def make(*user_keys: str) -> None:
    """Make the databases of users."""
    for user_key in user_keys:
        prepare()
        with engine().lock(user_key):
            engine().stage(user_key, schema.FIRST).publish()


def delete(user_key: str) -> None:
    """Delete a user's database."""
    with engine().lock(user_key):
        engine().delete(user_key)


def write(user_key: str, *texts: str) -> None:
    """Write entries as a user."""
    with as_user(user_key):
        for text in texts:
            schema.rows("Entry").create(text=text)


def read(user_key: str) -> list[str]:
    """Return the texts of a user's entries, the oldest first."""
    with as_user(user_key):
        return list(schema.rows("Entry").order_by("pk").values_list("text", flat=True))


def refuse_to_make(user_key: str) -> None:
    """Stand in for what makes missing databases on a site: say that there shall be none."""
    raise UserDatabaseDoesNotExist(user_key, f"The suite has not made a database of {user_key!r}.")
