"""Where user databases live when they are SQLite files."""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from django.conf import settings as django_settings
from django.core.checks import CheckMessage
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.timezone import make_naive

from dsud.conf import EngineSettings
from dsud.engines.base import BaseEngine, ReadingCursor, Rows
from dsud.engines.ranges import KeyRange
from dsud.engines.scratch import in_tests
from dsud.engines.sqlite import (
    checks,
    connection,
    files,
    image,
    in_memory,
    sequences,
    snapshots,
)
from dsud.engines.sqlite.paths import fan_and_name, uri_of, user_directory
from dsud.engines.sqlite.reading import looking_into
from dsud.engines.sqlite.replaying import SQLiteReplayer
from dsud.engines.sqlite.staged import StagedFile, StagedHere, StagedInMemory
from dsud.engines.sqlite.templates import Templates
from dsud.exceptions import InvalidEngine, UserDatabaseDoesNotExist, UserDatabaseUnavailable
from dsud.pool import pool
from dsud.slots import Fileless

if TYPE_CHECKING:
    from dsud.engines.sqlite.base import DatabaseWrapper


#: Templates that a process has read, so that a fresh directory does not cost it another one.
_images_of_tests: dict[str, bytes] = {}


class Engine(BaseEngine):
    """SQLite files under one directory, ``LOCATION``."""

    backend = "dsud.engines.sqlite"
    supports_snapshots = True
    supports_distinct_keys = True
    attaches = True

    def __init__(self, alias: str, settings: EngineSettings) -> None:
        super().__init__(alias, settings)
        if not settings.get("LOCATION"):
            raise InvalidEngine(
                f"USER_DATABASES[{alias!r}] has no LOCATION, and without USER_DATABASES the settings"
                f" need a BASE_DIR to put it beside. Write USER_DATABASES = {{{alias!r}:"
                " {'ENGINE': 'dsud.engines.sqlite', 'LOCATION': '/path/to/user_databases'}}."
            )
        self.options = checks.complete_options(alias, self.options)
        self.location = Path(settings["LOCATION"]).absolute()
        self._templates = Templates(
            self.location / ".template", images=_images_of_tests if in_tests() else {}
        )
        self._staged = StagedHere()

    @property
    def staged(self) -> weakref.WeakValueDictionary[str, StagedFile]:
        """The databases that this thread has staged, by user key."""
        return self._staged.files

    # Opening

    def database_settings(self, user_key: str) -> dict[str, object]:
        """Return the entries that ``DATABASES`` would need for the user's database."""
        return {
            "NAME": str(user_directory(self.location, user_key) / "1" / files.DATABASE),
            "USER_KEY": user_key,
            "OPTIONS": {
                "timeout": self.options["timeout"],
                "transaction_mode": self.options["transaction_mode"],
                "cached_statements": connection.CACHED_STATEMENTS,
                "isolation_level": None,
            },
        }

    def path_of(self, user_key: str) -> Path | None:
        """Return the file to open for a user here and now, or None when there is none."""
        place = self._place(user_key)
        return None if place is None else _path_at(place)

    def _place(self, user_key: str) -> Path | StagedFile | None:
        return self.staged.get(user_key) or self._live(user_key)

    def pool_key(self, user_key: str) -> Hashable:
        """Return what the pool counts a connection by: its user, and the file if it is staged here."""
        staged = self.staged.get(user_key)
        if staged is None:
            return self.location, user_key
        key = self.location, id(staged)
        return Fileless(key) if isinstance(staged, StagedInMemory) else key

    def _live(self, user_key: str) -> Path | None:
        try:
            return files.live_database(user_directory(self.location, user_key))
        except OSError as error:
            raise UserDatabaseUnavailable(
                user_key,
                f"The database of user {user_key!r} is out of reach: {error}."
                " Look at the disk and its permissions.",
            ) from error

    def open(
        self, user_key: str, wrapper: DatabaseWrapper, *, database: Hashable
    ) -> connection.Handle:
        """Open the user's database, verified; the pool counts it by ``database``.

        Raises ``UserDatabaseDoesNotExist`` or ``UserDatabaseUnavailable``.
        """
        place = self._provided_place(user_key)
        if isinstance(place, StagedInMemory):
            return in_memory.open_in_memory(place, wrapper, database=database)
        return self._open_verified(user_key, _path_at(place), wrapper, database=database)

    def _provided_place(self, user_key: str) -> Path | StagedFile:
        place = self._place(user_key)
        provide = type(self).when_missing
        if place is None and provide is not None:
            provide(user_key)
            place = self._place(user_key)
        if place is None:
            raise UserDatabaseDoesNotExist(
                user_key,
                f"User {user_key!r} has no database."
                f" Make one with `manage.py create_user_db --user {user_key}`.",
            )
        return place

    def _open_verified(
        self, user_key: str, path: Path, wrapper: DatabaseWrapper, *, database: Hashable
    ) -> connection.Handle:
        try:
            return self._try_to_open(user_key, path, wrapper, database=database)
        except sqlite3.OperationalError as error:
            # SQLite says the same of a missing file and of a process out of file handles.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN or not pool.evict_oldest():
                raise connection.unavailable(user_key, error) from error
        except (sqlite3.Error, OSError) as error:
            raise connection.unavailable(user_key, error) from error
        try:
            return self._try_to_open(user_key, path, wrapper, database=database)
        except (sqlite3.Error, OSError) as error:
            raise connection.unavailable(user_key, error) from error

    def _try_to_open(
        self, user_key: str, path: Path, wrapper: DatabaseWrapper, *, database: Hashable
    ) -> connection.Handle:
        params = wrapper.get_connection_params()
        params["database"] = uri_of(path, mode="rw")
        raw = wrapper.get_new_connection(params)
        try:
            # The -wal and its index are opened by the first statement that reads.
            connection.refuse_unless_owned(raw, user_key)
            authorizer = connection.set_up(raw, self.options)
            return connection.Handle(
                raw,
                database=database,
                path=path,
                user_key=user_key,
                reusable=user_key not in self.staged,
                authorizer=authorizer,
            )
        except BaseException:
            raw.close()
            raise

    def read_only(self, connection: BaseDatabaseWrapper) -> AbstractContextManager[None]:
        """Have SQLite refuse every change by this connection, for a block."""
        return cast("DatabaseWrapper", connection).read_only()

    def reading(self, user_key: str) -> AbstractContextManager[ReadingCursor] | None:
        """Return a quick way to read a user's file, unless it is not in its place yet."""
        # As text, because paths would take as long as the rest; and the first place, as of most.
        path = f"{self.location}/{fan_and_name(user_key)}/1/{files.DATABASE}"
        if user_key in self.staged or not os.access(path, os.F_OK):
            return None
        return looking_into(path, user_key, database=self.pool_key(user_key), options=self.options)

    # Asking

    def exists(self, user_key: str) -> bool:
        """Tell whether a complete database is in the user's place."""
        return self._live(user_key) is not None

    def files_directory(self, user_key: str) -> Path:
        """Return the directory of the user's own files, beside the database."""
        directory = _path_at(self._provided_place(user_key)).parent / files.FILES
        files.make_directory(directory)
        return directory

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
        path = self._live(user_key)
        if path is None:
            raise self._missing(user_key)
        with suppress(FileNotFoundError):  # Whoever closes the database last may take it away.
            return path.stat().st_size + path.with_name(path.name + "-wal").stat().st_size
        return path.stat().st_size

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
        return files.locked(self.location, user_key)

    def replayer(self) -> SQLiteReplayer:
        """Return how recorded migrations are replayed."""
        return SQLiteReplayer()

    # Snapshots

    def has_stamp(self, user_key: str, fingerprint: str) -> bool:
        """Tell whether the file carries a stamp."""
        with self._reading(user_key) as path:
            return snapshots.carries(path, fingerprint)

    def stage_copy(self, user_key: str) -> StagedFile:
        """Copy the user's database aside."""
        with self._reading(user_key) as path:
            staged = StagedFile(self, user_key)
            try:
                snapshots.copy(path, staged.path)
            except BaseException:
                staged.discard()
                raise
        self.staged[user_key] = staged
        return staged

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

    def is_initialized(self) -> bool:
        """Tell whether the location is one that user databases were put in before."""
        return files.is_marked(self.location)

    def initialize(self) -> None:
        """Make the location ready for its first user database."""
        files.mark(self.location)

    def check(self) -> list[CheckMessage]:
        """Return what is wrong with the engine's settings."""
        return checks.check_engine(self)

    def _missing(self, user_key: str) -> UserDatabaseDoesNotExist:
        return UserDatabaseDoesNotExist(user_key, f"User {user_key!r} has no database.")

    # Making and deleting

    def has_template(self, fingerprint: str) -> bool:
        """Tell whether a template with this schema fingerprint is ready."""
        return self._templates.has(fingerprint)

    def build_template(
        self, fingerprint: str, migrate: Callable[[dict[str, object]], None]
    ) -> None:
        """Make the template once, among all processes."""
        self._templates.build(fingerprint, migrate)

    def stage(
        self,
        user_key: str,
        fingerprint: str,
        *,
        rows: Iterable[Rows] = (),
        keys: KeyRange | None = None,
    ) -> StagedFile:
        """Clone the template for a user, aside."""
        data = image.clone(self._templates.read(fingerprint), user_key, rows=rows, keys=keys)
        staged = StagedFile(self, user_key)
        try:
            files.write_durably(staged.path, data)
        except BaseException:
            staged.discard()  # Now, because whoever keeps the exception keeps the object.
            raise
        self.staged[user_key] = staged
        return staged

    def stage_for_test(
        self,
        user_key: str,
        fingerprint: str,
        *,
        rows: Iterable[Rows] = (),
        keys: KeyRange | None = None,
    ) -> StagedInMemory:
        """Clone the template for a user of a test, in memory."""
        template = self._templates.read(fingerprint)
        staged = StagedInMemory(self, user_key, template, rows=rows, keys=keys)
        self.staged[user_key] = staged
        return staged

    def staged_here(self, user_key: str) -> StagedFile | None:
        """Return what this thread has staged for a user."""
        return self.staged.get(user_key)

    def key_number(self, connection: BaseDatabaseWrapper) -> int | None:
        """Return the number of the range that a database takes its primary keys from."""
        return sequences.number(sequences.on(connection))

    def begin_keys(self, connection: BaseDatabaseWrapper, keys: KeyRange) -> int:
        """Have new rows get primary keys of a range, and return the last key that was given."""
        return sequences.begin(sequences.on(connection), keys)

    def delete(self, user_key: str) -> None:
        """Move the user's database to the trash with its sidecars."""
        path = self._live(user_key)
        if path is None:
            raise self._missing(user_key)
        files.move_to_trash(path)
        pool.close_idle((self.location, user_key))


def _path_at(place: Path | StagedFile) -> Path:
    """Return the file of a database; one that is only staged for a test gets a directory by that."""
    return place.path if isinstance(place, StagedFile) else place
