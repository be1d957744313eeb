"""The contract of an engine: where the bytes of user databases live."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol

from django.core.checks import CheckMessage
from django.db.backends.base.base import BaseDatabaseWrapper

from dsud.conf import EngineSettings
from dsud.engines.ranges import KeyRange
from dsud.engines.replaying import Replayer
from dsud.exceptions import NotSupportedByEngine

#: Whether this context may write the copies of shared rows in user databases.
may_write_copies: ContextVar[bool] = ContextVar("dsud_may_write_copies", default=False)


@contextmanager
def writing_copies() -> Iterator[None]:
    """Allow the copies of shared rows to be written for a block: by migrations, and when they are renewed."""
    token = may_write_copies.set(True)
    try:
        yield
    finally:
        may_write_copies.reset(token)


@dataclass(frozen=True)
class Rows:
    """Rows that a new database begins with, as the backend stores them."""

    table: str
    columns: Sequence[str]
    values: Sequence[Sequence[object]]


#: What an engine cannot do that lacks ``supports_distinct_keys``.
DISTINCT_KEYS = "take the primary keys of each user from a range of their own"


class Staged(ABC):
    """A complete user database that nobody but its maker can reach yet."""

    @abstractmethod
    def publish(self) -> None:
        """Put the database in its user's place, durably and at once.

        Whoever has it open closes it next, because it may have moved. Raises
        ``UserDatabaseAlreadyExists`` when the place is taken; nothing is overwritten.
        """

    @abstractmethod
    def discard(self) -> None:
        """Remove what was built; doing it twice, or after publishing, does nothing."""


class ReadingCursor(Protocol):
    """What runs statements as Django writes them, and gives the values as the database has them."""

    def execute(self, sql: str, params: Sequence[object], /) -> object:
        """Run a statement with placeholders in Django's manner."""

    def fetchone(self) -> Sequence[object]:
        """Return the next row."""


class BaseEngine(ABC):
    """Where user databases live, asked per user; nothing else knows what they are made of."""

    #: The module with the Django database backend, as in ``DATABASES["..."]["ENGINE"]``. Its connections
    #: lease what they open from ``dsud.pool.pool``, call the hooks below, and constrain no key that
    #: ``router.allow_migrate(..., constrained=key)`` denies, because its target is in ``default``;
    #: settings without ``USER_KEY`` are of a template, which is nobody's.
    backend: ClassVar[str]

    #: Called with a user's key when a database is opened that does not exist; makes it or raises.
    when_missing: ClassVar[Callable[[str], None] | None] = None

    #: Called with the Django connection before it makes a cursor for a user's database; may refuse.
    before_cursor: ClassVar[Callable[[BaseDatabaseWrapper], None] | None] = None

    #: Returns the tables that hold copies of shared rows: to be written while ``may_write_copies`` only.
    copied_tables: ClassVar[Callable[[], frozenset[str]] | None] = None

    #: Called with a user's key before a cursor for their database executes or fetches; may refuse.
    before_cursor_use: ClassVar[Callable[[str], None] | None] = None

    #: Can a user's database be kept as it is now, and brought back to that?
    supports_snapshots: ClassVar[bool] = False

    #: Can each user's database take its primary keys from a range of its own?
    supports_distinct_keys: ClassVar[bool] = False

    def __init__(self, alias: str, settings: EngineSettings) -> None:
        self.alias = alias
        self.options = dict(settings.get("OPTIONS", {}))

    @classmethod
    def settings_for_tests(cls, settings: EngineSettings, directory: Path) -> EngineSettings:
        """Return what ``USER_DATABASES`` would say if the site were all tests.

        ``directory`` is empty, and nobody else's. Nothing that is in use may be reached.
        """
        return {**settings, "LOCATION": directory}

    @abstractmethod
    def database_settings(self, user_key: str) -> dict[str, object]:
        """Return the entries that ``DATABASES`` would need for the user's database.

        Raises ``InvalidUserKey`` when the key can name no database.
        """

    def read_only(self, connection: BaseDatabaseWrapper) -> AbstractContextManager[None]:
        """Have the database itself refuse every change by this connection, for a block.

        A transaction that begins inside only reads. Raises ``NotSupportedByEngine``.
        """
        raise NotSupportedByEngine(self.alias, "refuse changes to a user's database")

    def reading(self, user_key: str) -> AbstractContextManager[ReadingCursor] | None:
        """Return a quick way to run statements that Django has compiled and that only read.

        None when there is none here and now, so that Django's connection is the way; and so it is
        when this raises an error of the database's driver. Raises ``UserDatabaseUnavailable``.
        """
        return None

    @abstractmethod
    def exists(self, user_key: str) -> bool:
        """Tell whether a complete database is in the user's place.

        Raises ``UserDatabaseUnavailable`` when the place is out of reach, as on a failing disk, and
        ``InvalidUserKey`` as above.
        """

    @abstractmethod
    def keys(self) -> Iterator[str]:
        """Yield the key of each user who has a database, in no particular order."""

    @abstractmethod
    def size(self, user_key: str) -> int:
        """Return the bytes that the user's database takes.

        Raises ``UserDatabaseDoesNotExist``.
        """

    def last_written(self, user_key: str) -> datetime | None:
        """Return when the user's database was changed last, or None when the engine cannot tell."""
        return None

    @abstractmethod
    def lock(self, user_key: str) -> AbstractContextManager[None]:
        """Keep every other process and thread from making, migrating or deleting the database.

        Raises ``UserDatabaseUnavailable`` when somebody else keeps it for too long, or the
        location is not initialized: a lost mount gets not even a lock.
        """

    @abstractmethod
    def has_template(self, fingerprint: str) -> bool:
        """Tell whether a template with this schema fingerprint is ready."""

    @abstractmethod
    def build_template(
        self, fingerprint: str, migrate: Callable[[dict[str, object]], None]
    ) -> None:
        """Make the template once: ``migrate`` gets the settings of an empty database and fills it.

        Raises ``OSError`` when the disk cannot take it, or somebody else builds for too long.
        """

    @abstractmethod
    def stage(
        self,
        user_key: str,
        fingerprint: str,
        *,
        rows: Iterable[Rows] = (),
        keys: KeyRange | None = None,
    ) -> Staged:
        """Clone the template for a user, aside, and put rows in it; the caller holds ``lock(user_key)``.


        ``keys``, only given to an engine that ``supports_distinct_keys``, is as for ``begin_keys``.
        Raises ``OSError`` when the disk cannot take it.
        """

    def stage_for_test(
        self,
        user_key: str,
        fingerprint: str,
        *,
        rows: Iterable[Rows] = (),
        keys: KeyRange | None = None,
    ) -> Staged:
        """Clone the template for a user of a test, who never publishes it but discards it soon.

        Nothing is locked. What the engine can do without in this case, it may leave out. A database
        that is in the user's place stays there, out of this thread's reach until then.
        """
        ranges = {} if keys is None else {"keys": keys}
        return self.stage(user_key, fingerprint, rows=rows, **ranges)

    def stage_from(
        self,
        user_key: str,
        source: sqlite3.Connection,
        *,
        prepare: Callable[[sqlite3.Connection], None],
    ) -> Staged:
        """Take over what a SQLite file from elsewhere holds, aside, as ``stage`` does.

        ``prepare`` is given the copy before anybody may use it. Raises ``NotSupportedByEngine`` when
        databases are no such files.
        """
        raise NotSupportedByEngine(self.alias, "take over SQLite files")

    @abstractmethod
    def staged_here(self, user_key: str) -> Staged | None:
        """Return what this thread has staged for a user: it opens that, and nobody else may."""

    def serves(self, user_key: str) -> bool:
        """Tell whether this thread can open a user's database, be it in its place or staged here."""
        return self.staged_here(user_key) is not None or self.exists(user_key)

    @abstractmethod
    def delete(self, user_key: str) -> None:
        """Move the user's database to the trash; its place is never used again.

        The caller holds ``lock(user_key)``. Raises ``UserDatabaseDoesNotExist``.
        """

    def files_directory(self, user_key: str) -> Path:
        """Return the directory of the user's own files, which shares the fate of the database.

        Makes it, and the database as opening does. Raises ``UserDatabaseDoesNotExist``, and
        ``NotSupportedByEngine`` when the engine keeps no files beside databases.
        """
        raise NotSupportedByEngine(self.alias, "keep files beside a user's database")

    def replayer(self) -> Replayer | None:
        """Return how recorded migrations are replayed, or None: Django then migrates each database."""
        return None

    def has_stamp(self, user_key: str, fingerprint: str) -> bool:
        """Tell by a glance at the user's database whether a replay has stamped it so.

        Raises ``UserDatabaseUnavailable``. Where that takes more than a glance, the answer is no.
        """
        return False

    def stage_copy(self, user_key: str) -> Staged:
        """Copy the user's database aside as it is now, for a rehearsal; never to be published.

        The caller holds ``lock(user_key)``. Raises ``NotSupportedByEngine``.
        """
        raise NotSupportedByEngine(self.alias, "copy a user's database aside")

    def take_snapshot(self, user_key: str, name: str) -> None:
        """Keep the user's database durably as it is now; it shares the fate of the database.

        The caller holds ``lock(user_key)``. A few of the newest are kept. Names sort by age.
        Raises ``NotSupportedByEngine``.
        """
        raise NotSupportedByEngine(self.alias, "take snapshots")

    def restore_snapshot(self, user_key: str, name: str) -> None:
        """Bring the user's database back to a snapshot; what was written since is gone.

        The caller holds ``lock(user_key)``. Raises ``UserDatabaseUnavailable``.
        """
        raise NotSupportedByEngine(self.alias, "take snapshots")

    def snapshots(self, user_key: str) -> Sequence[str]:
        """Return the names of the user's snapshots, the oldest first."""
        return ()

    def key_number(self, connection: BaseDatabaseWrapper) -> int | None:
        """Return the number that ``begin_keys`` noted in a database, wherever it has been since.

        Raises ``NotSupportedByEngine``.
        """
        raise NotSupportedByEngine(self.alias, DISTINCT_KEYS)

    def begin_keys(self, connection: BaseDatabaseWrapper, keys: KeyRange) -> int:
        """Have new rows get primary keys of a range, and return the last key that was given.

        Rows that are there keep their keys, and no key is ever given again. Doing it once more
        changes nothing, but for tables that are new. Raises ``NotSupportedByEngine``.
        """
        raise NotSupportedByEngine(self.alias, DISTINCT_KEYS)

    #: Can the databases be attached to a connection of Python's own SQLite, by ``attachable``?
    attaches: ClassVar[bool] = False

    def attachable(self, user_key: str) -> str:
        """Return the URI by which maintenance attaches the database that this thread would open.

        Raises ``UserDatabaseDoesNotExist``, and ``NotSupportedByEngine`` unless it ``attaches``.
        """
        raise NotSupportedByEngine(self.alias, "attach a user's database")

    @abstractmethod
    def is_initialized(self) -> bool:
        """Tell whether the location is one that user databases were put in before.

        A lost mount answers no, so that nothing is made anew on the empty directory below it.
        """

    @abstractmethod
    def initialize(self) -> None:
        """Make the location ready for its first user database."""

    @abstractmethod
    def check(self) -> list[CheckMessage]:
        """Return what is wrong with the engine's settings, in the manner of ``manage.py check``."""


def keep_copies_in(tables: Callable[[], frozenset[str]]) -> None:
    """Tell the engines in which tables of user databases there are copies of shared rows."""
    BaseEngine.copied_tables = staticmethod(tables)


def provide_missing_with(provide: Callable[[str], None]) -> None:
    """Tell the engines what to call when a database is opened that does not exist.

    It gets the user's key and makes the database or raises; the query path itself knows no registry.
    """
    BaseEngine.when_missing = staticmethod(provide)


def ask_before_cursors(
    ask: Callable[[BaseDatabaseWrapper], None], *, before_use: Callable[[str], None]
) -> None:
    """Tell the engines what to call before a cursor for a user's database is made, and each use."""
    BaseEngine.before_cursor = staticmethod(ask)
    BaseEngine.before_cursor_use = staticmethod(before_use)
