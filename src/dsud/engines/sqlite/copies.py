"""A SQLite file from elsewhere made into a user database: its pages copied, its settings ours."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from dsud.engines.sqlite import files
from dsud.engines.sqlite.image import APPLICATION_ID, CREATE_IDENTITY, WRITE_IDENTITY


def copy(
    source: sqlite3.Connection,
    path: Path,
    *,
    user_key: str,
    prepare: Callable[[sqlite3.Connection], None],
) -> None:
    """Copy what a connection sees to a new file, have it prepared, and make it a user's.

    ``prepare`` gets a connection to the copy. What it deletes is in the file no more afterwards.
    Raises ``sqlite3.Error`` and ``OSError``.
    """
    os.close(files.open_private(path, os.O_WRONLY | os.O_EXCL))
    with closing(sqlite3.connect(path, isolation_level=None)) as target:
        source.backup(target)
        # Not in the WAL mode of the source, lest VACUUM writes everything twice, and synced once at
        # the end, because until then nobody needs it.
        target.executescript("PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF;")
        prepare(target)
        target.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        target.execute(CREATE_IDENTITY)
        target.execute(WRITE_IDENTITY, (user_key,))
        target.executescript("PRAGMA auto_vacuum = INCREMENTAL; VACUUM;")
        (verdict,) = target.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"the copy is not sound: {verdict}")
        target.execute("PRAGMA journal_mode = WAL")
    files.sync_file(path)
