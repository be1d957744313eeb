"""What a site's process holds while many users are active: memory and file handles; runs in that process."""

from __future__ import annotations

import resource
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.db import connections

from benchmarks import filling
from benchmarks.diary import acts, people
from benchmarks.looking import resident, watched

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

#: Threads that serve users, as a server's would.
THREADS = 8

#: Users who wait for a thread at the same time.
PAGE = 64


def prepare(*, users: int, notes: int) -> None:
    """Make the site and its users."""
    filling.fill(users=users, notes=notes, singly=0)


def serve(*, users: int, files: int) -> dict[str, int]:
    """Serve so many users twice, with a limit of open files; return what that took, in bytes and handles."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))
    keys = get_user_model().objects.order_by("pk").values_list("pk", flat=True)
    everybody = list(keys[: users + THREADS])
    with ThreadPoolExecutor(THREADS) as executor:
        # Somebody else first, so that what is there once for all is not counted.
        list(executor.map(_serve, everybody[users:]))
        memory, opened = resident(), _open()
        with watched() as seen:
            for _ in range(2):
                # Some at a time, because what waits weighs something, too, and no server has so many wait.
                for first in range(0, users, PAGE):
                    list(executor.map(_serve, everybody[first : min(first + PAGE, users)]))
            after = resident()
        found = {"grown": after - memory, "opened": _open() - opened, "cap": _cap()}
    return {**found, "files": min(files, hard), "handles": seen.most, "before": seen.first}


def _serve(key: int) -> None:
    # Read anew as each request reads its user: who held them all would hold more for each.
    user: AbstractBaseUser = get_user_model()._default_manager.get(pk=key)
    with people.acting_as(user):
        acts.listed(user)
        acts.write(user)


def _open() -> int:
    """Return how many connections to the rows of users are open."""
    if acts.is_ours():
        from dsud.pool import pool

        return pool.slots
    return len(list(connections.all(initialized_only=True)))


def _cap() -> int:
    """Return how many may be open, 0 where nothing limits them."""
    if acts.is_ours():
        from dsud.slots import max_open

        return max_open()
    return 0
