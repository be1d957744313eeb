"""The places of user databases that are SQLite files: where each is, how large, and what lies beside it."""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings as django_settings
from django.utils.timezone import make_naive

from dsud.conf import EngineSettings
from dsud.engines.base import BaseEngine
from dsud.engines.sqlite import connection, files, snapshots
from dsud.engines.sqlite.paths import fan_and_name, quoted, uri_of
from dsud.engines.sqlite.staged import StagedFile, StagedHere, StagedInMemory
from dsud.exceptions import UserDatabaseDoesNotExist, UserDatabaseUnavailable
from dsud.pool import pool


class Places(BaseEngine):
    """The part of the engine that opens no connection of Django's."""

    supports_snapshots = True
    attaches = True

    def __init__(self, alias: str, settings: EngineSettings, *, location: Path) -> None:
        super().__init__(alias, settings)
        self.location = location
        #: As text, because the pool looks things up by it, and a Path takes ten times as long.
        self.root = str(location)
        self._prefix = f"{self.root}/"
        self._quoted_root = quoted(location)
        self._staged = StagedHere()

    @property
    def staged(self) -> weakref.WeakValueDictionary[str, StagedFile]:
        """The databases that this thread has staged, by user key."""
        return self._staged.files

    def path_of(self, user_key: str) -> Path | None:
        """Return the file to open for a user here and now, or None when there is none."""
        place = self._place(user_key)
        return None if place is None else path_at(place)

    def _place(self, user_key: str) -> str | Path | StagedFile | None:
        return self.staged.get(user_key) or self._live_name(user_key)

    def _usual_name(self, user_key: str) -> str:
        """Return the first place of a user's file, where it is unless it was deleted and made anew.

        As text, because paths would take as long as all else that uses it.
        """
        return f"{self.root}/{fan_and_name(user_key)}/1/{files.DATABASE}"

    def _live(self, user_key: str) -> Path | None:
        name = self._live_name(user_key)
        return None if name is None else Path(name)

    def _live_name(self, user_key: str) -> str | None:
        """Return where a user's file is, as text: paths take a tenth of what opening it takes."""
        try:
            if files.is_there(usual := self._usual_name(user_key)):
                return usual
            later = files.later_database(f"{self.root}/{fan_and_name(user_key)}")
            return None if later is None else str(later)
        except OSError as error:
            raise UserDatabaseUnavailable(
                user_key,
                f"The database of user {user_key!r} is out of reach: {error}."
                " Look at the disk and its permissions.",
            ) from error

    # Asking

    def exists(self, user_key: str) -> bool:
        """Tell whether a complete database is in the user's place."""
        return self._live_name(user_key) is not None

    def attachable(self, user_key: str) -> str:
        """Return the URI by which maintenance attaches the file that this thread would open."""
        path = self.path_of(user_key)
        if path is None:
            raise self._missing(user_key)
        return uri_of(path, mode="rw")

    def keys(self) -> Iterator[str]:
        """Yield the key of each user who has a database."""
        return (user_key for user_key, _ in files.each_user(self.location))

    def size(self, user_key: str) -> int:
        """Return the bytes that the user's database and its -wal take."""
        name = self._live_name(user_key)
        if name is None:
            raise self._missing(user_key)
        size = os.stat(name).st_size  # noqa: PTH116, because a path takes longer
        with suppress(FileNotFoundError):  # Whoever closes the database last may take it away.
            size += os.stat(f"{name}-wal").st_size  # noqa: PTH116
        return size

    def last_written(self, user_key: str) -> datetime | None:
        """Return when the user's file or its -wal was written last."""
        if (path := self._live(user_key)) is None:
            return None
        written = path.stat().st_mtime
        with suppress(FileNotFoundError):
            written = max(written, path.with_name(path.name + "-wal").stat().st_mtime)
        moment = datetime.fromtimestamp(written, tz=UTC)
        return moment if django_settings.USE_TZ else make_naive(moment)

    def lock(self, user_key: str) -> AbstractContextManager[None]:
        """Keep every other process and thread from making, migrating or deleting the database."""
        if isinstance(self.staged.get(user_key), StagedInMemory):
            return nullcontext()  # Nobody else can reach it, and the location may not be there.
        return files.locked(self.root, user_key)

    def _missing(self, user_key: str) -> UserDatabaseDoesNotExist:
        return UserDatabaseDoesNotExist(user_key, f"User {user_key!r} has no database.")

    # Snapshots

    def has_stamp(self, user_key: str, fingerprint: str) -> bool:
        """Tell whether the file carries a stamp."""
        with self._reading(user_key) as path:
            return snapshots.carries(path, fingerprint)

    def take_snapshot(self, user_key: str, name: str) -> None:
        """Copy the user's database beside itself."""
        with self._reading(user_key) as path:
            snapshots.take(path, name)

    def restore_snapshot(self, user_key: str, name: str) -> None:
        """Copy a snapshot into the user's database."""
        with self._reading(user_key) as path:
            snapshots.restore(path, name)

    def snapshots(self, user_key: str) -> list[str]:
        """Return the names of the user's snapshots."""
        with self._reading(user_key) as path:
            return snapshots.names(path)

    @contextmanager
    def _reading(self, user_key: str) -> Iterator[Path]:
        """Find the user's file, and say in a typed error what is wrong with it."""
        path = self._live(user_key)
        if path is None:
            raise self._missing(user_key)
        try:
            yield path
        except (sqlite3.Error, OSError) as error:
            raise connection.unavailable(user_key, error) from error

    # The location

    def is_initialized(self) -> bool:
        """Tell whether the location is one that user databases were put in before."""
        return files.is_marked(self.location)

    def initialize(self) -> None:
        """Make the location ready for its first user database."""
        files.mark(self.location)

    def delete(self, user_key: str) -> None:
        """Move the user's database to the trash with its sidecars."""
        path = self._live(user_key)
        if path is None:
            raise self._missing(user_key)
        files.move_to_trash(path)
        pool.close_idle((self.root, user_key))


def path_at(place: str | Path | StagedFile) -> Path:
    """Return the file of a database; one that is only staged for a test gets a directory by that."""
    return place.path if isinstance(place, StagedFile) else Path(place)
