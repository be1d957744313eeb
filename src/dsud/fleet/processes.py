"""Processes that share the work, seen from the one that asked for it: kept busy, replaced, dismissed."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar, cast

from dsud.connections import close_before_fork
from dsud.exceptions import DSUDError, UserDatabaseError
from dsud.fleet.crossing import pack, unpack
from dsud.fleet.member import FORK, Member, Method, packed_work
from dsud.fleet.outcomes import Outcome, Stop, Work
from dsud.fleet.worker import Shared, Task, Told

R = TypeVar("R")

#: Databases that a worker is given at once, at most, and the seconds that they should take.
LARGEST_CHUNK = 64
CHUNK_SECONDS = 0.03

#: Outcomes that may wait for one that is slow and whose turn it is, and bytes that they may take.
AHEAD = 10_000
AHEAD_BYTES = 64 * 1024 * 1024

#: Workers that may end one after the other without having begun anything.
STILLBORN = 3


class WorkerDied(UserDatabaseError):
    """Raised for the database that a worker process had in hand when it came to an end."""


class WorkersFailed(DSUDError):
    """Raised when worker processes end before they begin, one after the other."""


class Crew(Generic[R]):
    """The worker processes of one run, and the outcomes that wait for their turn."""

    def __init__(
        self, work: Work[R], users: Iterable[str], stop: Stop, *, count: int, method: Method
    ) -> None:
        self._work = packed_work(work, method)
        self._left: Iterator[Task] = enumerate(users)
        #: Whether users are read while the work is done, perhaps from a connection of this thread.
        self._reads_users = not isinstance(users, Collection)
        self._again: deque[Task] = deque()
        self._stop = stop
        self._count = count
        self._method = method
        self._stopped: Shared = multiprocessing.get_context(method).RawValue("b", 0)
        self._members: dict[Connection, Member] = {}
        self._told: dict[int, deque[Told]] = {}
        self._told_bytes = 0
        self._turn = 0
        self._seconds = CHUNK_SECONDS
        self._stillborn = 0

    def outcomes(self) -> Generator[Outcome[R]]:
        """Yield what came of each database, in order, while the others are at work."""
        try:
            if self._reads_users:
                self._hire_all()
            while True:
                self._keep_busy()
                if self._turn in self._told:
                    yield self._next_told(self._turn)
                elif self._members:
                    self._listen(timeout=None)
                else:
                    break
            yield from self._told_after_stop()
        except KeyboardInterrupt:
            if self._stop:  # Which is the second one, of somebody who will not wait.
                self._kill_all()
            raise
        finally:
            self._dismiss_all()

    def _told_after_stop(self) -> Iterator[Outcome[R]]:
        """Yield what came of those that were in hand; the others are not there."""
        for turn in sorted(self._told):
            while turn in self._told:
                yield self._next_told(turn)

    def _next_told(self, turn: int) -> Outcome[R]:
        told = self._told[turn].popleft()
        self._told_bytes -= len(told.packed)
        if not self._told[turn]:
            del self._told[turn]
        if told.is_last:
            self._turn = turn + 1
            if self._turn % self._chunk_size() == 0:
                self._listen(timeout=0.0)
        return unpack(told.packed)

    # Giving work

    def _keep_busy(self) -> None:
        if self._stop:
            self._stopped.value = 1
            for member in self._members.values():
                member.dismiss()
            return
        for member in self._members.values():
            self._supply(member)
        while len(self._members) < self._count and (tasks := self._next_tasks()):
            self._hire().give(tasks)

    def _supply(self, member: Member) -> None:
        # One chunk ahead, lest it waits for us; but only small ones, lest they wait for it.
        enough = 0 if (size := self._chunk_size()) == 1 else size
        if len(member.given) > enough:
            return
        if tasks := self._next_tasks():
            member.give(tasks)
        elif not member.given and not self._is_far_ahead():
            member.dismiss()

    def _chunk_size(self) -> int:
        return max(1, min(LARGEST_CHUNK, int(CHUNK_SECONDS / self._seconds)))

    def _next_tasks(self) -> list[Task]:
        if self._again:
            return [self._again.popleft()]
        return [] if self._is_far_ahead() else list(islice(self._left, self._chunk_size()))

    def _is_far_ahead(self) -> bool:
        return len(self._told) > AHEAD or self._told_bytes > AHEAD_BYTES

    # Workers that come and go

    def _hire_all(self) -> None:
        """Fork before the first user is read, because forking closes what that may be read from."""
        for _ in range(self._count):
            self._hire()

    def _hire(self) -> Member:
        if self._method == FORK:
            close_before_fork()
        member = Member(
            self._work, method=self._method, stopped=self._stopped, others=list(self._members)
        )
        self._members[member.pipe] = member
        return member

    def _replace(self, member: Member) -> None:
        """Part from a worker that has ended, and see to what it leaves behind."""
        del self._members[member.pipe]
        in_hand, left = member.bury()
        if in_hand is not None:
            index, key = in_hand
            died = Outcome[R](key, None, _died(key, member.how_it_ended), 0.0)
            self._keep(Told(index, 0.0, pack(died), is_last=True))
        elif left:
            self._stillborn += 1
        if self._stillborn > STILLBORN:
            raise WorkersFailed(
                f"{self._stillborn} worker processes ended before they had begun; the last one"
                f" {member.how_it_ended}. What they have printed says why."
            )
        self._again.extendleft(reversed(left))
        if left and self._reads_users and self._method == FORK:
            self._left = iter(list(self._left))

    # Listening

    def _listen(self, *, timeout: float | None) -> None:
        for pipe in wait(self._pipes(), timeout):
            member = self._members[cast("Connection", pipe)]
            try:
                told = member.hear()
            except (EOFError, ConnectionError):
                self._replace(member)
                continue
            self._stillborn = 0
            for each in told:
                self._keep(each)
                self._seconds = (self._seconds + each.seconds) / 2

    def _pipes(self) -> list[Connection]:
        """Return whom to listen to: when too much waits, only the one whose turn it is."""
        if self._told_bytes > AHEAD_BYTES:
            for pipe, member in self._members.items():
                if any(index == self._turn for index, _ in member.given):
                    return [pipe]
        return list(self._members)

    def _keep(self, told: Told) -> None:
        self._told.setdefault(told.place, deque()).append(told)
        self._told_bytes += len(told.packed)

    def _dismiss_all(self) -> None:
        """End every worker, after what it has in hand; at once when we are interrupted once more."""
        self._stopped.value = 1
        try:
            for member in self._members.values():
                member.dismiss()
            while self._members:
                for pipe in wait(list(self._members)):
                    self._hear_out(self._members[cast("Connection", pipe)])
        finally:
            self._kill_all()

    def _kill_all(self) -> None:
        while self._members:
            _, member = self._members.popitem()
            member.kill()

    def _hear_out(self, member: Member) -> None:
        try:
            member.hear()
        except (EOFError, ConnectionError):
            del self._members[member.pipe]
            member.bury()


def _died(key: str, how: str) -> WorkerDied:
    return WorkerDied(
        key,
        f"The worker process that had the database of user {key!r} in hand {how}. What it was doing"
        " is either done or undone, transaction by transaction. Run it again.",
    )
