"""What the tests of the pool look at and do: open files, threads, connections that are worked on."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from dsud import use_user
from dsud.connections import alias_of
from dsud.context import user_key
from tests.notes.models import Note

R = TypeVar("R")

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc"
)


def open_database_files() -> int:
    """Return how many files of user databases this process has open.

    A directory is not read at one moment, and a busy machine makes it longer: what is seen twice
    was open in between, all of it at once.
    """
    return len(_database_files() & _database_files())


def _database_files() -> set[tuple[str, str]]:
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # Closed since it was listed.
            found.add((descriptor.name, str(descriptor.readlink())))
    return {each for each in found if "/db.sqlite3" in each[1]}


def people(count: int) -> list[User]:
    """Return new users, each with one note in their database: their name."""
    users = [get_user_model().objects.create_user(f"person{number}") for number in range(count)]
    for user in users:
        write(user, user.username)
    return users


def write(user: User, text: str) -> None:
    """Write a note as a user."""
    with use_user(user):
        Note.objects.create(text=text)


def texts(user: User) -> list[str]:
    """Return the notes of a user, oldest first."""
    with use_user(user):
        return list(Note.objects.order_by("pk").values_list("text", flat=True))


def connection_of(user: User) -> BaseDatabaseWrapper:
    """Return this thread's Django connection to a user's database."""
    return connections[alias_of(user_key(user))]


@contextmanager
def working_on(user: User) -> Iterator[BaseDatabaseWrapper]:
    """Hold one more connection to a user's database in the middle of a transaction."""
    connection = connection_of(user).copy()
    try:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT count(*) FROM notes_note").fetchall()
        yield connection
    finally:
        connection.close()


def in_thread(function: Callable[[], R]) -> R:
    """Run a function in a thread that ends, and return or raise what it does."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(closing_default, function).result(30)


def closing_default(function: Callable[[], R]) -> R:
    """Run a function, then close the thread's connection to ``default``.

    By hand, because Django does not close databases in memory, as ``default`` is in tests.
    """
    try:
        return function()
    finally:
        default = connections["default"]
        if default.connection is not None:
            default.connection.close()
            default.connection = None
