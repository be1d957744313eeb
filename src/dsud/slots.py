"""How many connections, and files behind them, this process may hold open, and how many it does."""

from __future__ import annotations

import resource
from collections.abc import Hashable
from typing import NamedTuple

from dsud.conf import conf

#: Files that SQLite holds per connection in WAL mode: database, -wal and -shm.
FILES_PER_CONNECTION = 3


def max_open() -> int:
    """Return how many connections this process may hold open.

    A quarter of the files (64 at least) is left to the rest of the process,
    because SQLite and everything else fail together when none is left.
    """
    if (configured := conf.DSUD_MAX_OPEN) is not None:
        return max(1, configured)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = 65_536
    return max(1, (soft - max(64, soft // 4)) // FILES_PER_CONNECTION)


class Fileless(NamedTuple):
    """What a database in memory is counted by: it holds no file, and to close it is to lose it."""

    database: Hashable


class Slots:
    """The connections that count against the cap: leased, idle, opening and closing.

    Files are counted beside them, because the connections of one database share its -shm, and
    because SQLite keeps the database file of a closed one until the last one closes (a process
    that closes a file loses its locks on it: https://www.sqlite.org/src/file?name=src/os_unix.c).
    """

    def __init__(self) -> None:
        self.count = 0
        self.files = 0
        #: The cap when it was looked at last: when it was reached, because that takes ten calls.
        self.limit = 0
        self._open: dict[Hashable, tuple[int, int]] = {}

    def take(self, database: Hashable) -> bool:
        """Count one more connection to a database if the cap allows it."""
        now, before = self._open.get(database, (0, 0))
        most = max(before, now + 1)
        if not isinstance(database, Fileless):
            more = _files(now + 1, most) - _files(now, before)
            if not self._has_room(more):
                self.limit = max_open()
                if not self._has_room(more):
                    return False
            self.count += 1
            self.files += more
        self._open[database] = (now + 1, most)
        return True

    def _has_room(self, more: int) -> bool:
        limit = self.limit
        return self.count < limit and self.files + more <= limit * FILES_PER_CONNECTION

    def free(self, database: Hashable) -> None:
        """Count one connection less."""
        now, most = self._open.pop(database)
        if now > 1:
            self._open[database] = (now - 1, most)
        if not isinstance(database, Fileless):
            self.count -= 1
            self.files += _files(now - 1, most) - _files(now, most)

    def databases(self) -> frozenset[Hashable]:
        """Return the databases that have a connection."""
        return frozenset(self._open)


def _files(now: int, most: int) -> int:
    """Return the files of a database with ``now`` connections, and ``most`` since it had none."""
    return most + now + 1 if now else 0
