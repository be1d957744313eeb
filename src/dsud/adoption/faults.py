"""What databases and disks say when they fail, as the error of the user whose rows were at hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error

from dsud.exceptions import UserDatabaseError


def said(error: Exception) -> str:
    """Return what an error says, to be put into a sentence."""
    return str(error).rstrip(".\n ")


@contextmanager
def typed(key: str, error: type[UserDatabaseError], what: str) -> Iterator[None]:
    """Raise a user's error in the place of a database's or a disk's; ``what`` was not done."""
    try:
        yield
    except (OSError, sqlite3.Error, Error) as cause:
        raise error(
            key, f"{what}: {said(cause)}. Nothing was changed; mend the cause and run this again."
        ) from cause
