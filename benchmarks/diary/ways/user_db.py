"""django-sqlite-user-db 0.1: a database comes with the user, by a signal that runs `migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.management import call_command

from benchmarks.diary.ways.together import host_of, prepare, settle
from dsud.middleware import request_user_db

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from django.contrib.auth.base_user import AbstractBaseUser

__all__ = ["acting_as", "host_of", "prepare", "settle", "upgrade"]


def upgrade() -> None:
    """Bring the tables of all databases up to date, as its README writes it."""
    call_command("migrate", verbosity=0)
    call_command("migrate_user_dbs", verbosity=0)


def acting_as(user: AbstractBaseUser) -> AbstractContextManager[object]:
    """Return the block in which the user's notes are reached, as its README writes it."""
    return request_user_db(user)
