"""Where user databases live when they are SQLite files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from django.core.checks import CheckMessage
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from dsud.conf import EngineSettings
from dsud.engines.abilities import ReadingCursor
from dsud.engines.ranges import KeyRange
from dsud.engines.scratch import in_tests
from dsud.engines.sqlite import (
    checks,
    connection,
    copies,
    files,
    functions,
    image,
    in_memory,
    sequences,
    snapshots,
)
from dsud.engines.sqlite.paths import fan_and_name, uri_of
from dsud.engines.sqlite.places import Places, path_at
from dsud.engines.sqlite.reading import Looking, opened_for_statements
from dsud.engines.sqlite.replaying import SQLiteReplayer
from dsud.engines.sqlite.staged import StagedFile, StagedInMemory, StagedToFill
from dsud.engines.sqlite.templates import Templates
from dsud.engines.staged import Rows
from dsud.exceptions import InvalidEngine, UserDatabaseDoesNotExist
from dsud.pool import pool
from dsud.slots import Fileless

if TYPE_CHECKING:
    from dsud.engines.sqlite.base import DatabaseWrapper


AnyStagedFile = TypeVar("AnyStagedFile", bound=StagedFile)

#: Templates that a process has read, so that a fresh directory does not cost it another one.
_images_of_tests: dict[str, bytes] = {}


class Engine(Places):
    """SQLite files under one directory, ``LOCATION``."""

    backend = "dsud.engines.sqlite"
    supports_distinct_keys = True

    def __init__(self, alias: str, settings: EngineSettings) -> None:
        if not settings.get("LOCATION"):
            raise InvalidEngine(
                f"USER_DATABASES[{alias!r}] has no LOCATION, and without USER_DATABASES the settings"
                f" need a BASE_DIR to put it beside. Write USER_DATABASES = {{{alias!r}:"
                " {'ENGINE': 'dsud.engines.sqlite', 'LOCATION': '/path/to/user_databases'}}."
            )
        super().__init__(alias, settings, location=Path(settings["LOCATION"]).absolute())
        self.options = checks.complete_options(alias, self.options)
        self._templates = Templates(
            self.location / ".template", images=_images_of_tests if in_tests() else {}
        )

    # Opening

    def database_settings(self, user_key: str) -> dict[str, object]:
        """Return the entries that ``DATABASES`` would need for the user's database."""
        return {
            "NAME": self._usual_name(user_key),
            "USER_KEY": user_key,
            "OPTIONS": {
                "timeout": self.options["timeout"],
                "transaction_mode": self.options["transaction_mode"],
                "cached_statements": connection.CACHED_STATEMENTS,
                "isolation_level": None,
            },
        }

    def pool_key(self, user_key: str) -> Hashable:
        """Return what the pool counts a connection by: its user, and the file if it is staged here."""
        here = self._staged
        staged = here.files.get(user_key) if here.has_staged else None
        if staged is None:
            return self.root, user_key
        key = self.root, id(staged)
        return Fileless(key) if isinstance(staged, StagedInMemory) else key

    def open(
        self, user_key: str, wrapper: DatabaseWrapper, *, database: Hashable
    ) -> connection.Handle:
        """Open the user's database, verified; the pool counts it by ``database``.

        Raises ``UserDatabaseDoesNotExist`` or ``UserDatabaseUnavailable``.
        """
        if self.staged.get(user_key) is None:
            # Not looked for first, because it is there nearly always.
            usual = self._usual_name(user_key)
            opened = self._try_to_open(user_key, usual, wrapper, database=database)
            if opened is not None:
                return opened
        place = self._provided_place(user_key)
        if isinstance(place, StagedInMemory):
            return in_memory.open_in_memory(place, wrapper, database=database)
        return self._open_at(str(path_at(place)), user_key, wrapper, database=database)

    def _provided_place(self, user_key: str) -> str | Path | StagedFile:
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

    def _open_at(
        self, path: str, user_key: str, wrapper: DatabaseWrapper, *, database: Hashable
    ) -> connection.Handle:
        opened = self._try_to_open(user_key, path, wrapper, database=database)
        if opened is not None:
            return opened
        # SQLite says the same of a missing file and of a process out of file handles.
        pool.evict_oldest()
        try:
            return self._opened(user_key, path, wrapper, database=database)
        except (sqlite3.Error, OSError) as error:
            raise connection.unavailable(user_key, error) from error

    def _try_to_open(
        self, user_key: str, path: str, wrapper: DatabaseWrapper, *, database: Hashable
    ) -> connection.Handle | None:
        """Return the open file, or None where SQLite finds none to open.

        Not SQLite's error, because its traceback leads back to whoever keeps it: such a circle holds
        what was opened until it is collected.
        """
        try:
            return self._opened(user_key, path, wrapper, database=database)
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CANTOPEN:
                raise connection.unavailable(user_key, error) from error
            return None

    def _opened(
        self, user_key: str, path: str, wrapper: DatabaseWrapper, *, database: Hashable
    ) -> connection.Handle:
        raw = functions.connect({**wrapper.connection_params, "database": self._uri_of(path)})
        try:
            # The -wal and its index are opened by the first statement that reads.
            connection.refuse_unless_owned(raw, user_key)
            return connection.Handle(
                raw,
                database=database,
                name=path,
                user_key=user_key,
                reusable=user_key not in self.staged,
                authorizer=connection.set_up(raw, self.options),
            )
        except BaseException:
            raw.close()
            raise

    def read_only(self, connection: BaseDatabaseWrapper) -> AbstractContextManager[None]:
        """Have SQLite refuse every change by this connection, for a block."""
        return cast("DatabaseWrapper", connection).read_only()

    def reading(self, user_key: str) -> AbstractContextManager[ReadingCursor] | None:
        """Return a quick way to read a user's file, unless it is not in its place yet."""
        if user_key in self.staged:
            return None
        # The first place, as of most. Whoever has another one is found by Django's connection, after
        # this has failed.
        uri = self._usual_uri(user_key, mode="ro")
        return Looking(uri, user_key, (self.root, user_key), self.options)

    @contextmanager
    def _opened_quickly(self, user_key: str, wrapper: BaseDatabaseWrapper) -> Iterator[bool]:
        """Have a connection work on the user's file without a watch over what it does.

        Not where a site adds to each connection what statements may need. What is wrong with a file
        is said by whoever opens it the usual way.
        """
        quick, look = cast("DatabaseWrapper", wrapper), None
        if user_key not in self.staged and not connection_created.has_listeners(type(quick)):
            look = opened_for_statements(
                self._usual_uri(user_key, mode="rw"),
                user_key,
                database=(self.root, user_key),
                options=self.options,
            )
        if look is None:
            yield False
            return
        try:
            with quick.working_on(look.raw, of=user_key):
                yield True
        finally:
            pool.close(look)

    def _uri_of(self, path: str) -> str:
        """Return the URI of a file; below the location there are only names that need no quoting."""
        if path.startswith(self._prefix):
            return f"file:{self._quoted_root}/{path[len(self._prefix) :]}?mode=rw"
        return uri_of(path, mode="rw")

    def _usual_uri(self, user_key: str, *, mode: str) -> str:
        """Return the URI of the first place of a user's file, as text because paths take longer."""
        path = f"{self._quoted_root}/{fan_and_name(user_key)}/1/{files.DATABASE}"
        return f"file:{path}?mode={mode}"

    def files_directory(self, user_key: str) -> Path:
        """Return the directory of the user's own files, beside the database."""
        directory = path_at(self._provided_place(user_key)).parent / files.FILES
        files.make_directory(directory)
        return directory

    def replayer(self) -> SQLiteReplayer:
        """Return how recorded migrations are replayed."""
        return SQLiteReplayer(self._opened_quickly)

    def stage_copy(self, user_key: str) -> StagedFile:
        """Copy the user's database aside."""
        with self._reading(user_key) as path:
            staged = StagedFile(self, user_key)
            try:
                snapshots.copy(path, staged.path)
            except BaseException:
                staged.discard()
                raise
        self._staged.add(staged)
        return staged

    def check(self) -> list[CheckMessage]:
        """Return what is wrong with the engine's settings."""
        return checks.check_engine(self)

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
        return self._stage(
            staged, lambda: files.write_durably(staged.name, *image.in_wal_mode(data))
        )

    def stage_to_fill(
        self,
        user_key: str,
        fingerprint: str,
        *,
        rows: Iterable[Rows] = (),
        keys: KeyRange | None = None,
    ) -> StagedToFill:
        """Clone the template for a user, aside, to be written without a log and synced at the end."""
        template = self._templates.read(fingerprint)
        data = image.clone(template, user_key, rows=rows, keys=keys)
        staged = StagedToFill(self, user_key)
        return self._stage(staged, lambda: files.write_for_now(staged.name, data))

    def stage_from(
        self,
        user_key: str,
        source: sqlite3.Connection,
        *,
        prepare: Callable[[sqlite3.Connection], None],
    ) -> StagedFile:
        """Take over what a SQLite file from elsewhere holds, aside."""
        staged = StagedFile(self, user_key)
        return self._stage(
            staged, lambda: copies.copy(source, staged.path, user_key=user_key, prepare=prepare)
        )

    def _stage(self, staged: AnyStagedFile, write: Callable[[], None]) -> AnyStagedFile:
        try:
            write()
        except BaseException:
            staged.discard()  # Now, because whoever keeps the exception keeps the object.
            raise
        self._staged.add(staged)
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
        self._staged.add(staged)
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
