"""The open raw connections of this process: capped, leased to one thread at a time, evicted when idle."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Hashable

from dsud.leases import AnyLease, Borrower, Force, H, Handle, Lease, LeasesHere, PoolError
from dsud.slots import Slots, max_open

#: Seconds a thread waits for a slot when every connection of the process is in use.
WAIT = 10.0
#: Seconds between two looks for connections whose thread has ended, because nobody announces them.
LOOK = 0.1


class Pool:
    """A bounded set of open connections: evicts the least recently used, reuses the newest."""

    def __init__(self) -> None:
        self._orphans: deque[AnyLease] = deque()
        self._inherited: frozenset[Hashable] = frozenset()
        self.evictions = 0
        self._start_empty()

    def _start_empty(self) -> None:
        # Re-entrant, because the garbage collector may run a finalizer that releases a connection
        # (a suspended generator leaves its `with` blocks) while its thread holds the lock.
        self._lock = threading.RLock()
        self._freed = threading.Condition(self._lock)
        self._waiting = 0  # Threads, because to notify nobody takes as long as to keep a handle.
        self._slots = Slots()
        self._open: set[Handle] = set()
        self._idle: OrderedDict[Handle, None] = OrderedDict()
        self._idle_of: dict[Hashable, list[Handle]] = {}
        self._leased: set[AnyLease] = set()
        self._here = LeasesHere(self._orphans)

    @property
    def slots(self) -> int:
        """How many connections count against the cap: leased, idle, opening and closing."""
        return self._slots.count

    @property
    def idle(self) -> int:
        """How many connections are open and nobody's."""
        return len(self._idle)

    @property
    def leased(self) -> int:
        """How many connections are leased."""
        return len(self._leased)

    def held(self) -> frozenset[AnyLease]:
        """Return the leases of this thread, without those that hold no file."""
        return frozenset(held) if (held := self._here.leases.held) else frozenset()

    def look_at_cap(self) -> None:
        """Look how many may be open now, and not when the next one is opened."""
        self._slots.limit = max_open()

    # Leasing

    def lease(
        self, database: Hashable, borrower: Borrower, open_handle: Callable[[], H]
    ) -> Lease[H]:
        """Lease a connection to ``database``: an idle one that is still current, or a new one.

        Raises ``PoolError`` when no slot comes free within ``WAIT`` seconds,
        and whatever ``open_handle`` and ``Handle.is_current`` raise.
        """
        mine = self._here.leases
        if mine.held:
            # Because a thread that serves one user after the other needs one connection, not all.
            self.release_thread(force=Force.NOTHING)
        if self._inherited:
            self._refuse_inherited(database)
        kept: H | None = self._current_idle_or_slot(database)  # type: ignore[assignment]
        handle = self._open_in_slot(database, open_handle) if kept is None else kept
        lease = Lease(handle, borrower, opened=kept is None)
        self._leased.add(lease)  # Without the lock, because it is one step.
        mine.add(lease)
        return lease

    def open_for_a_look(self, database: Hashable, open_handle: Callable[[], H]) -> H | None:
        """Open a connection for one use, which ``close`` ends, if no idle one is there and a slot is."""
        self._refuse_inherited(database)
        with self._lock:
            if database in self._idle_of or not self._slots.take(database):
                return None
        return self._open_in_slot(database, open_handle)

    def _open_in_slot(self, database: Hashable, open_handle: Callable[[], H]) -> H:
        try:
            handle = open_handle()
        except BaseException:
            self._free_slot(database)
            raise
        self._open.add(handle)
        return handle

    def _current_idle_or_slot(self, database: Hashable) -> Handle | None:
        while (handle := self._idle_or_slot(database)) is not None:
            try:
                current = handle.is_current()
            except BaseException:
                # Kept, because the next look must find the same fault and not open another file.
                self._keep(handle)
                raise
            if current:
                return handle
            self.close(handle)
        return None

    def _idle_or_slot(self, database: Hashable) -> Handle | None:
        """Return an idle connection to ``database``, or None with a slot taken for a new one."""
        deadline = 0.0
        while True:
            if self._orphans:
                self._collect_orphans()
            with self._lock:
                handle = self._pop_idle_of(database)
                if handle is not None or self._slots.take(database):
                    return handle
                victim = self._pop_oldest()
                if victim is None and not self._take_from_others():
                    deadline = self._wait(deadline)
            if victim is not None:
                self.evictions += 1
                self.close(victim)

    def _take_from_others(self) -> bool:
        """Take back a connection that its thread does not use; the caller holds the lock."""
        return any(
            self._take_back(lease, force=Force.NOTHING)
            for lease in list(self._leased)
            if not lease.is_fileless
        )

    def _wait(self, deadline: float) -> float:
        """Wait for a connection to come back; the caller holds the lock, which is let go."""
        if not deadline:
            deadline = time.monotonic() + WAIT
        elif time.monotonic() > deadline:
            raise PoolError(
                f"All {max_open()} connections of this process stayed in use for {WAIT:g} s."
                " Raise DSUD_MAX_OPEN or the limit of open files, or shorten what holds connections."
            )
        self._waiting += 1
        freed = self._freed.wait(LOOK)
        self._waiting -= 1  # If Ctrl-C keeps it from being counted, one is notified in vain.
        if not freed:
            # Because connections are reference cycles: one that nobody can return any more waits.
            gc.collect()
        return deadline

    # Idle

    def _keep(self, handle: Handle) -> None:
        with self._lock:
            self._idle[handle] = None
            self._idle_of.setdefault(handle.database, []).append(handle)
            if self._waiting:
                self._freed.notify()

    def _pop_idle_of(self, database: Hashable) -> Handle | None:
        handles = self._idle_of.get(database)
        while handles:
            handle = handles.pop()
            if not handles:
                self._idle_of.pop(database, None)
            if handle in self._idle:
                del self._idle[handle]
                return handle
        return None

    def _pop_oldest(self) -> Handle | None:
        return self._pop_end(newest=False)

    def _pop_end(self, *, newest: bool) -> Handle | None:
        if not self._idle:
            return None
        handle, _ = self._idle.popitem(last=newest)
        handles = self._idle_of.get(handle.database, [])
        if handle in handles:
            handles.remove(handle)
        if not handles:
            self._idle_of.pop(handle.database, None)
        return handle

    # Returning

    def give_back(self, lease: AnyLease, *, force: Force) -> bool:
        """Return a connection of this thread; tell whether it could part from its borrower."""
        if not self._take_back(lease, force=force):
            return False
        self._here.leases.discard(lease)
        return True

    def release_thread(
        self,
        *,
        force: Force = Force.CURSORS,
        untouched: Collection[AnyLease] = frozenset(),
    ) -> None:
        """Return every connection of this thread that ``force`` can get back.

        Open transactions keep theirs unless it is everything. Those of the leases in ``untouched``
        keep their half-read cursors, too, and are returned only when they are idle; those that hold
        no file, only when everything is.
        """
        mine = self._here.leases
        if not mine.held and force is not Force.EVERYTHING:
            return
        leases = [*mine.held, *(mine.fileless if force is Force.EVERYTHING else ())]
        for lease in leases:
            if lease not in self._leased:
                mine.discard(lease)  # Another thread needed it and took it back.
            elif self._take_back(lease, force=Force.NOTHING if lease in untouched else force):
                mine.discard(lease)

    def _take_back(self, lease: AnyLease, *, force: Force) -> bool:
        """Keep or close what was leased; tell whether it was this call that did it."""
        if not lease.part(force=force):
            return False
        try:
            self._leased.remove(lease)  # One step, so that it is one thread's to take back.
        except KeyError:
            return False  # Another thread was faster, and may have leased it again since.
        handle, is_clean = lease.handle, False
        try:
            is_clean = handle.clean() and self._slots.count <= self._slots.limit
        finally:
            if is_clean:
                self._keep(handle)
            else:
                self.close(handle)
        return True

    def _collect_orphans(self) -> None:
        while self._orphans:
            try:
                lease = self._orphans.popleft()
            except IndexError:
                return  # Another thread was faster.
            if lease in self._leased:
                self._take_back(lease, force=Force.EVERYTHING)

    # Closing

    def close(self, handle: Handle) -> None:
        """Close a connection that is nobody's."""
        try:
            handle.close()
        finally:
            self._open.discard(handle)
            self._free_slot(handle.database)

    def _free_slot(self, database: Hashable) -> None:
        with self._lock:
            self._slots.free(database)
            if self._waiting:
                self._freed.notify()

    def evict_oldest(self) -> bool:
        """Close the connection that is idle for longest; tell whether there was one."""
        with self._lock:
            handle = self._pop_oldest()
        if handle is None:
            return False
        self.evictions += 1
        self.close(handle)
        return True

    def close_idle(self, database: Hashable | None = None) -> None:
        """Close the idle connections to ``database``, or all idle ones."""
        self._collect_orphans()
        while True:
            with self._lock:
                handle = self._pop_oldest() if database is None else self._pop_idle_of(database)
            if handle is None:
                return
            self.close(handle)

    def close_newest(self, *, beyond: int) -> None:
        """Close idle connections, the newest first, until there are no more than ``beyond``."""
        while True:
            with self._lock:
                handle = self._pop_end(newest=True) if len(self._idle) > beyond else None
            if handle is None:
                return
            self.close(handle)

    # Forking

    def before_fork(self) -> None:
        """Close what nobody uses, and hold the lock so that no thread is inside at the fork.

        A connection that is open at the fork makes SQLite in the child believe that it has the
        parent's locks: what the child then writes to that database can be lost.
        """
        self._collect_orphans()
        self._lock.acquire()
        for lease in list(self._leased):
            self._take_back(lease, force=Force.NOTHING)
        self.close_idle()

    def after_fork_in_parent(self) -> None:
        """Let the parent go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Forget every inherited connection without closing it, and refuse its database.

        SQLite's connections must not cross a fork, not even to be closed
        (https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_),
        so they are made immortal.
        """
        leased = list(self._leased)
        for handle in self._open:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))
        self._inherited |= self._slots.databases()
        self._start_empty()
        self._orphans.clear()
        for lease in leased:
            lease.abandon()

    def _refuse_inherited(self, database: Hashable) -> None:
        if database in self._inherited:
            raise PoolError(
                "It was in use when this process was forked, so SQLite cannot lock it here."
                " Fork outside of transactions and requests, or start a fresh process (spawn)."
            )


pool = Pool()

os.register_at_fork(
    before=pool.before_fork,
    after_in_parent=pool.after_fork_in_parent,
    after_in_child=pool.after_fork_in_child,
)
