"""Threads of a site that write notes as fast as they can; runs in each of the site's processes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connections

from benchmarks import filling
from benchmarks.diary import acts, people
from benchmarks.diary.views import note_model
from benchmarks.pace import Written, measured, together

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser


def prepare(*, users: int) -> None:
    """Make the site and its users."""
    filling.fill(users=users, notes=20)
    connections.close_all()


def write(*, first: int, threads: int, of: int, seconds: float, at: float) -> dict[str, object]:
    """Write for so many seconds from a moment on, each thread as the user of its number.

    With `of`, each note is written as one of so many users, drawn by lot.
    """
    users = list(get_user_model().objects.order_by("pk")[: of or first + threads])
    connections.close_all()
    own = [users] * threads if of else [[user] for user in users[first : first + threads]]
    with ThreadPoolExecutor(threads) as executor:
        work = [executor.submit(_write, each, seconds=seconds, at=at) for each in own]
        return together([each.result() for each in work])


def _write(users: Sequence[AbstractBaseUser], *, seconds: float, at: float) -> Written:
    lots = random.Random(repr(users))  # noqa: S311, because it is no secret

    def create() -> None:
        user = users[0] if len(users) == 1 else lots.choice(users)
        with people.acting_as(user):
            acts.write(user)

    create()  # So that connections are open.
    try:
        return measured(create, seconds=seconds, at=at)
    finally:
        connections.close_all()


# With a file for each writer, and nothing but Django


def prepare_files() -> None:
    """Make the tables of a file for each writer."""
    filling.fill(users=0, notes=0)
    connections.close_all()
    full = connections[DEFAULT_DB_ALIAS].settings_dict["NAME"]
    for alias in _own():
        shutil.copyfile(full, connections[alias].settings_dict["NAME"])


def _own() -> list[str]:
    """Return the aliases of the files of writers, in order."""
    return [alias for alias in connections if alias != DEFAULT_DB_ALIAS]


def write_files(*, first: int, threads: int, seconds: float, at: float) -> dict[str, object]:
    """Write for so many seconds from a moment on, each thread into the file of its number."""
    with ThreadPoolExecutor(threads) as executor:
        own = _own()[first : first + threads]
        work = [executor.submit(_write_file, each, seconds=seconds, at=at) for each in own]
        return together([each.result() for each in work])


def _write_file(alias: str, *, seconds: float, at: float) -> Written:
    notes = note_model()._default_manager

    def create() -> None:
        notes.using(alias).create(title="A new note", text="x" * 200)

    create()  # So that connections are open.
    try:
        return measured(create, seconds=seconds, at=at)
    finally:
        connections.close_all()
