"""The open raw connections of this process: capped, leased to one thread at a time, evicted when idle."""

from __future__ import annotations

import ctypes
import enum
import gc
import os
import resource
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Protocol

from dsud.conf import conf

#: Seconds a thread waits for a slot when every connection of the process is in use.
WAIT = 10.0

#: Files that SQLite holds per connection in WAL mode: database, -wal and -shm.
FILES_PER_CONNECTION = 3


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

    def clean(self) -> bool:
        """Close cursors, roll back, and tell whether another lease may have the connection."""

    def close(self) -> None:
        """Close the raw connection."""


class Borrower(Protocol):
    """A Django connection that works on a leased raw connection."""

    def surrender(self, lease: Lease, *, force: Force) -> bool:
        """Part from the leased connection; refuse when ``force`` does not reach."""

    def abandon(self, lease: Lease) -> None:
        """Forget the leased connection without touching it, because it crossed a fork."""


class PoolExhausted(Exception):
    """Every connection of the process stayed in use for as long as a lease may wait."""


class Lease:
    """The right of one Django connection to use one raw connection."""

    __slots__ = ("__weakref__", "_borrower", "handle", "opened", "reusable")

    def __init__(self, handle: Handle, borrower: Borrower, *, opened: bool) -> None:
        self.handle = handle
        self.opened = opened
        self.reusable = True
        self._borrower = weakref.ref(borrower)

    def surrender(self, *, force: Force) -> bool:
        """Get the raw connection back, clean; tell whether that was possible."""
        borrower = self._borrower()
        if borrower is not None and not borrower.surrender(self, force=force):
            return False
        self.reusable = self.handle.clean() and self.reusable
        return True

    def abandon(self) -> None:
        """Forget the raw connection after a fork."""
        if (borrower := self._borrower()) is not None:
            borrower.abandon(self)


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


class ThreadLeases:
    """The leases of one thread; when the thread ends they become orphans of the pool."""

    def __init__(self, orphans: deque[Lease]) -> None:
        self._orphans = orphans
        self.held: dict[Lease, None] = {}

    def __del__(self) -> None:
        # Only appends, because a finalizer may run while this thread holds the pool's lock.
        self._orphans.extend(self.held)


class Pool:
    """A bounded set of open connections: evicts the least recently used, reuses the newest."""

    def __init__(self) -> None:
        self._orphans: deque[Lease] = deque()
        self.evictions = 0
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._idle: OrderedDict[Handle, None] = OrderedDict()
        self._idle_of: dict[Hashable, list[Handle]] = {}
        self._leased: set[Lease] = set()
        self._slots = 0
        self._local = threading.local()

    @property
    def slots(self) -> int:
        """How many connections count against the cap: leased, idle, opening and closing."""
        return self._slots

    @property
    def leased(self) -> int:
        """How many connections are leased."""
        return len(self._leased)

    def _mine(self) -> dict[Lease, None]:
        try:
            leases: ThreadLeases = self._local.leases
        except AttributeError:
            leases = self._local.leases = ThreadLeases(self._orphans)
        return leases.held

    # Leasing

    def lease(
        self, database: Hashable, borrower: Borrower, open_handle: Callable[[], Handle]
    ) -> Lease:
        """Lease a connection to ``database``: an idle one that is still current, or a new one.

        Raises ``PoolExhausted`` when no slot comes free within ``WAIT`` seconds,
        and whatever ``open_handle`` raises.
        """
        handle = self._idle_or_slot(database)
        while handle is not None and not handle.is_current():
            self._close(handle)
            handle = self._idle_or_slot(database)
        opened = handle is None
        if handle is None:
            handle = self._open(open_handle)
        lease = Lease(handle, borrower, opened=opened)
        with self._lock:
            self._leased.add(lease)
        self._mine()[lease] = None
        return lease

    def _open(self, open_handle: Callable[[], Handle]) -> Handle:
        try:
            return open_handle()
        except BaseException:
            self._free_slot()
            raise

    def _idle_or_slot(self, database: Hashable) -> Handle | None:
        """Return an idle connection to ``database``, or None with a slot taken for a new one."""
        deadline: float | None = None
        while True:
            self._collect_orphans()
            with self._lock:
                if handle := self._pop_idle_of(database):
                    return handle
                if self._slots < max_open():
                    self._slots += 1
                    return None
                victim = self._pop_oldest()
                if victim is None and deadline is not None:
                    self._freed.wait(0.05)
            if victim is not None:
                self._evict(victim)
            else:
                deadline = self._make_room(deadline)

    def _make_room(self, deadline: float | None) -> float:
        """Take a connection back from a thread that does not use it; give up after ``WAIT``."""
        if deadline is None:
            # Because a wrapper is a reference cycle: those of tasks long gone wait for the GC.
            gc.collect()
            deadline = time.monotonic() + WAIT
        elif time.monotonic() > deadline:
            raise PoolExhausted(
                f"All {max_open()} connections of this process stayed in use for {WAIT:g} s."
            )
        with self._lock:
            leases = list(self._leased)
        for lease in leases:
            if lease.surrender(force=Force.NOTHING):
                self._take_back(lease)
                break
        return deadline

    def _pop_idle_of(self, database: Hashable) -> Handle | None:
        handles = self._idle_of.get(database)
        if not handles:
            return None
        handle = handles.pop()
        if not handles:
            del self._idle_of[database]
        del self._idle[handle]
        return handle

    def _pop_oldest(self) -> Handle | None:
        if not self._idle:
            return None
        handle, _ = self._idle.popitem(last=False)
        handles = self._idle_of[handle.database]
        handles.remove(handle)
        if not handles:
            del self._idle_of[handle.database]
        return handle

    # Returning

    def give_back(self, lease: Lease, *, force: Force) -> bool:
        """Return a connection of this thread; tell whether it could part from its wrapper."""
        if not lease.surrender(force=force):
            return False
        self._mine().pop(lease, None)
        self._take_back(lease)
        return True

    def release_thread(self, *, force: Force) -> None:
        """Return every connection of this thread that ``force`` can get back."""
        for lease in list(self._mine()):
            if lease not in self._leased:
                self._mine().pop(lease, None)  # Another thread needed it and took it back.
            else:
                self.give_back(lease, force=force)

    def _take_back(self, lease: Lease) -> None:
        handle = lease.handle
        with self._lock:
            if lease not in self._leased:
                return
            self._leased.discard(lease)
            reusable = lease.reusable and self._slots <= max_open()
            if reusable:
                self._idle[handle] = None
                self._idle_of.setdefault(handle.database, []).append(handle)
                self._freed.notify()
        if not reusable:
            self._close(handle)

    def _collect_orphans(self) -> None:
        while self._orphans:
            try:
                lease = self._orphans.popleft()
            except IndexError:
                return  # Another thread was faster.
            if lease in self._leased and lease.surrender(force=Force.EVERYTHING):
                self._take_back(lease)

    # Closing

    def _evict(self, handle: Handle) -> None:
        self.evictions += 1
        self._close(handle)

    def _close(self, handle: Handle) -> None:
        try:
            handle.close()
        finally:
            self._free_slot()

    def _free_slot(self) -> None:
        with self._lock:
            self._slots -= 1
            self._freed.notify()

    def close_idle(self, database: Hashable | None = None) -> None:
        """Close the idle connections to ``database``, or all idle ones."""
        self._collect_orphans()
        while True:
            with self._lock:
                handle = self._pop_oldest() if database is None else self._pop_idle_of(database)
            if handle is None:
                return
            self._close(handle)

    def evict_oldest(self) -> bool:
        """Close the connection that is idle for longest; tell whether there was one."""
        with self._lock:
            handle = self._pop_oldest()
        if handle is not None:
            self._evict(handle)
        return handle is not None

    # Forking

    def before_fork(self) -> None:
        """Hold the lock, so that the child does not inherit it from another thread."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Let the parent go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Forget every inherited connection without closing it.

        SQLite's connections must not cross a fork, not even to be closed
        (https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_),
        so they are made immortal.
        """
        leased = list(self._leased)
        for handle in [*self._idle, *(lease.handle for lease in leased)]:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))
        self._forget()
        self._orphans.clear()
        for lease in leased:
            lease.abandon()


pool = Pool()

os.register_at_fork(
    before=pool.before_fork,
    after_in_parent=pool.after_fork_in_parent,
    after_in_child=pool.after_fork_in_child,
)
