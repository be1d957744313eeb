"""What the pool's tests look at and do: open files, threads, connections that are worked on at once."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from dsud import use_user
from dsud.connections import alias_of
from dsud.context import user_key
from tests.notes.models import Note

R = TypeVar("R")

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="counts open files by /proc"
)


def open_database_files(process: str = "self") -> list[str]:
    """Return the names of the files of user databases that a process has open."""
    names = []
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        try:
            name = os.readlink(descriptor)
        except FileNotFoundError:
            continue  # Closed meanwhile, as the one that lists the directory.
        if "/db.sqlite3" in name:
            names.append(name)
    return names


def people(count: int) -> list[User]:
    """Return new users, each with a database that holds one note, their name."""
    users = [get_user_model().objects.create_user(f"person{number}") for number in range(count)]
    for user in users:
        with use_user(user):
            Note.objects.create(text=user.username)
    return users


def texts(user: User) -> list[str]:
    """Return the notes of a user, oldest first."""
    with use_user(user):
        return list(Note.objects.order_by("pk").values_list("text", flat=True))


def connection_of(user: User) -> BaseDatabaseWrapper:
    """Return this thread's Django connection to a user's database."""
    return connections[alias_of(user_key(user))]


def in_thread(function: Callable[[], R]) -> R:
    """Run a function in a thread that ends, and return or raise what it does."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(closing_default, function).result(30)


def closing_default(function: Callable[[], R]) -> R:
    """Run a function and close the thread's connection to ``default``, which is in memory here."""
    try:
        return function()
    finally:
        default = connections["default"]
        if default.connection is not None:
            default.connection.close()
            default.connection = None


@contextmanager
def working_on(user: User) -> Iterator[BaseDatabaseWrapper]:
    """Hold one more connection to a user's database, in the middle of a transaction."""
    connection = connection_of(user).copy()
    alias = f"{connection.alias}"
    previous = connections[alias]
    connections[alias] = connection
    try:
        with transaction.atomic(using=alias):
            connections[alias] = previous
            yield connection
            connections[alias] = connection
    finally:
        connections[alias] = previous
