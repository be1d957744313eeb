"""Which databases this context may open that are not at the schema of the code, and which it may migrate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from dsud.connections import release
from dsud.leases import Force

_takes_all: ContextVar[bool] = ContextVar("dsud_takes_all", default=False)
_leaves_unmigrated: ContextVar[bool] = ContextVar("dsud_leaves_unmigrated", default=False)


@contextmanager
def as_they_are() -> Iterator[None]:
    """Open databases in a block whatever their schema is, to migrate, copy, look at or mend them."""
    token = _takes_all.set(True)
    try:
        yield
    finally:
        _takes_all.reset(token)
        # Lest somebody goes on with a connection to what would be refused.
        release(force=Force.NOTHING)


@contextmanager
def unmigrated() -> Iterator[None]:
    """Refuse databases in a block that would else be migrated, because it only passes by."""
    token = _leaves_unmigrated.set(True)
    try:
        yield
    finally:
        _leaves_unmigrated.reset(token)


def takes_all() -> bool:
    """Tell whether this context opens databases whatever their schema is."""
    return _takes_all.get()


def may_migrate() -> bool:
    """Tell whether this context has databases migrated that it opens, if the site wants that."""
    return not _leaves_unmigrated.get()
