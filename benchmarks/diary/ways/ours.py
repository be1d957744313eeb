"""dsud: a database comes with the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.management import call_command

from benchmarks.diary.ways.together import host_of, prepare, settle
from dsud import use_user

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from django.contrib.auth.base_user import AbstractBaseUser

__all__ = ["acting_as", "host_of", "prepare", "settle", "upgrade"]


def upgrade() -> None:
    """Bring the tables of all databases up to date."""
    call_command("migrate", verbosity=0)
    call_command("migrate_user_dbs", verbosity=0)


def acting_as(user: AbstractBaseUser) -> AbstractContextManager[object]:
    """Return the block in which the user's notes are reached."""
    return use_user(user)
