"""One database for everybody: nothing to make, and nobody to act as."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from django.core.management import call_command

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from django.contrib.auth.base_user import AbstractBaseUser

ONE_HOST = "127.0.0.1"


def prepare() -> None:
    """Make the tables of `default`."""
    call_command("migrate", verbosity=0)


def upgrade() -> None:
    """Bring the tables up to date."""
    call_command("migrate", verbosity=0)


def settle(user: AbstractBaseUser) -> None:
    """Make the place of a user who has just been made."""


def acting_as(user: AbstractBaseUser) -> AbstractContextManager[object]:
    """Return the block in which the user's notes are reached."""
    return nullcontext()


def host_of(user: AbstractBaseUser) -> str:
    """Return the `Host` that a user's requests name."""
    return ONE_HOST
