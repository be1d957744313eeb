"""What an engine may be able to do besides, each with what is answered by one that cannot."""

from __future__ import annotations

import sqlite3
from abc import ABC
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from dsud.engines.ranges import KeyRange
from dsud.engines.replaying import Replayer
from dsud.engines.staged import Staged
from dsud.exceptions import NotSupportedByEngine

#: What an engine cannot do that lacks ``supports_distinct_keys``.
DISTINCT_KEYS = "take the primary keys of each user from a range of their own"


class ReadingCursor(Protocol):
    """What runs statements as Django writes them, and gives the values as the database has them."""

    def execute(self, sql: str, params: Sequence[object], /) -> object:
        """Run a statement with placeholders in Django's manner."""

    def fetchone(self) -> Sequence[object]:
        """Return the next row."""


class Abilities(ABC):
    """The optional part of the contract: an engine overrides what it can do, and sets the flags of it.

    Each answer here is one that the rest of dsud can live with, or says what to do instead.
    """

    alias: str

    #: Can a user's database be kept as it is now, and brought back to that?
    supports_snapshots: ClassVar[bool] = False

    #: Can each user's database take its primary keys from a range of its own?
    supports_distinct_keys: ClassVar[bool] = False

    #: Can the databases be attached to a connection of Python's own SQLite, by ``attachable``?
    attaches: ClassVar[bool] = False

    def reading(self, user_key: str) -> AbstractContextManager[ReadingCursor] | None:
        """Return a quick way to run statements that Django has compiled and that only read.

        None when there is none here and now, so that Django's connection is the way; and so it is
        when this raises an error of the database's driver. Raises ``UserDatabaseUnavailable``.
        """
        return None

    def read_only(self, connection: BaseDatabaseWrapper) -> AbstractContextManager[None]:
        """Have the database itself refuse every change by this connection, for a block.

        A transaction that begins inside only reads. Raises ``NotSupportedByEngine``.
        """
        raise NotSupportedByEngine(self.alias, "refuse changes to a user's database")

    def last_written(self, user_key: str) -> datetime | None:
        """Return when the user's database was changed last, or None when the engine cannot tell."""
        return None

    def files_directory(self, user_key: str) -> Path:
        """Return the directory of the user's own files, which shares the fate of the database.

        Makes it, and the database as opening does. Raises ``UserDatabaseDoesNotExist``, and
        ``NotSupportedByEngine`` when the engine keeps no files beside databases.
        """
        raise NotSupportedByEngine(self.alias, "keep files beside a user's database")

    def attachable(self, user_key: str) -> str:
        """Return the URI by which maintenance attaches the database that this thread would open.

        Raises ``UserDatabaseDoesNotExist``, and ``NotSupportedByEngine`` unless it ``attaches``.
        """
        raise NotSupportedByEngine(self.alias, "attach a user's database")

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

    def stage_copy(self, user_key: str) -> Staged:
        """Copy the user's database aside as it is now, for a rehearsal; never to be published.

        The caller holds ``lock(user_key)``. Raises ``NotSupportedByEngine``.
        """
        raise NotSupportedByEngine(self.alias, "copy a user's database aside")

    def replayer(self) -> Replayer | None:
        """Return how recorded migrations are replayed, or None: Django then migrates each database."""
        return None

    def has_stamp(self, user_key: str, fingerprint: str) -> bool:
        """Tell by a glance at the user's database whether a replay has stamped it so.

        Raises ``UserDatabaseUnavailable``. Where that takes more than a glance, the answer is no.
        """
        return False

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
