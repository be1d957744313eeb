"""What the pool lends: the contract between it, the engines' raw connections and Django's connections."""

from __future__ import annotations

import enum
import threading
import weakref
from collections import deque
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

from dsud.slots import Fileless


class Force(enum.IntEnum):
    """What may be broken off to get a connection back."""

    NOTHING = 0  # It must be idle: no cursor, no transaction.
    CURSORS = 1  # Half-read cursors are closed, a transaction keeps it.
    EVERYTHING = 2  # Its thread is gone: transactions are rolled back, too.


class Handle(Protocol):
    """One open raw connection, as an engine gives it to the pool."""

    database: Hashable

    def is_current(self) -> bool:
        """Tell whether the file that was opened is still the one at its path."""

    def is_read(self) -> bool:
        """Tell whether somebody may be reading from it at this moment."""

    def clean(self) -> bool:
        """Close cursors, roll back, and tell whether another lease may have the connection."""

    def close(self) -> None:
        """Close the raw connection."""


H = TypeVar("H", bound=Handle)
H_co = TypeVar("H_co", bound=Handle, covariant=True)


class PoolError(Exception):
    """Raised when the pool cannot lease a connection; the message says what to do."""


class Borrower(Protocol):
    """A Django connection that works on a leased raw connection."""

    def surrender(self, lease: AnyLease, *, force: Force) -> bool:
        """Part from the leased connection if it has it; refuse when ``force`` does not reach."""

    def abandon(self) -> None:
        """Forget the leased connection without touching it, because it crossed a fork."""


class Lease(Generic[H_co]):
    """The right of one Django connection to use one raw connection."""

    __slots__ = ("__weakref__", "_borrower", "handle", "is_fileless", "opened")

    def __init__(self, handle: H_co, borrower: Borrower, *, opened: bool) -> None:
        self.handle = handle
        self.opened = opened
        #: Whether what the connection holds is lost when it is given back.
        self.is_fileless = type(handle.database) is Fileless
        self._borrower = weakref.ref(borrower)

    def part(self, *, force: Force) -> bool:
        """Take the raw connection from its borrower; tell whether that was possible."""
        borrower = self._borrower()
        if borrower is None:
            return force is not Force.NOTHING or not self.handle.is_read()
        return borrower.surrender(self, force=force)

    def abandon(self) -> None:
        """Forget the raw connection after a fork."""
        if (borrower := self._borrower()) is not None:
            borrower.abandon()


AnyLease = Lease[Handle]


class ThreadLeases:
    """The leases of one thread; when the thread ends they become orphans of the pool.

    Those without files are kept apart, because a test may have thousands of them: they are given
    back one by one, and are in nobody's way.
    """

    def __init__(self, orphans: deque[AnyLease]) -> None:
        self._orphans = orphans
        self.held: dict[AnyLease, None] = {}
        self.fileless: dict[AnyLease, None] = {}

    def add(self, lease: AnyLease) -> None:
        """Remember a lease."""
        (self.fileless if lease.is_fileless else self.held)[lease] = None

    def discard(self, lease: AnyLease) -> None:
        """Forget a lease if it is one of the thread's."""
        (self.fileless if lease.is_fileless else self.held).pop(lease, None)

    def __del__(self) -> None:
        # Only appends, because a finalizer may run anywhere, also inside the pool.
        self._orphans.extend((*self.held, *self.fileless))


class LeasesHere(threading.local):
    """The leases of whichever thread asks."""

    def __init__(self, orphans: deque[AnyLease]) -> None:
        self.leases = ThreadLeases(orphans)
