"""One ``atomic()`` over ``default`` and the active user's database."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeAlias

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic

from dsud.connections import key_of_alias, release
from dsud.context import Activation, Block, active_key, current_activation
from dsud.leases import Force

Raised: TypeAlias = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class Unnamed(str):
    """The alias ``default`` where nobody wrote it: ``@atomic`` and ``ATOMIC_REQUESTS``."""

    __slots__ = ()


UNNAMED = Unnamed(DEFAULT_DB_ALIAS)


class Level:
    """An open block on ``default``, and the blocks of the user databases that joined it."""

    def __init__(self, atomic: Atomic) -> None:
        self.atomic = atomic
        self.joined: dict[str, Atomic] = {}


class Levels(threading.local):
    """The open blocks of this thread, the outermost first."""

    def __init__(self) -> None:
        self.stack: list[Level] = []
        # The alias that is joining now, because BEGIN and SAVEPOINT themselves ask for cursors.
        self.joining: str | None = None


_levels = Levels()
_enter = Atomic.__enter__
_exit = Atomic.__exit__


def covers_users(atomic: Atomic) -> bool:
    """Tell whether a block was opened without an alias, so that it covers the user's database."""
    if getattr(atomic, "_from_testcase", False):
        return False  # The block around a whole test commits nothing and is nobody's promise.
    return atomic.using is None or isinstance(atomic.using, Unnamed)


def join(connection: BaseDatabaseWrapper) -> None:
    """Let a user's database join the blocks that are open, before it is used for the first time.

    It joins each level with a block of its own, so that it rolls back at the depth that fails.
    """
    stack, alias = _levels.stack, connection.alias
    if not stack or alias in stack[-1].joined or alias == _levels.joining:
        return
    if key_of_alias(alias) != active_key():
        return  # An explicit alias stays explicit.
    _levels.joining = alias
    try:
        for level in stack:
            if alias not in level.joined:
                block = Atomic(alias, level.atomic.savepoint, False)
                _enter(block)
                level.joined[alias] = block
    finally:
        _levels.joining = None


def enter(atomic: Atomic) -> None:
    """Open a block; one without an alias waits for user databases to join it."""
    if not covers_users(atomic):
        if _levels.stack and key_of_alias(alias := atomic.using or "") is not None:
            join(connections[alias])
        _enter(atomic)
        return
    _enter(atomic)
    _levels.stack.append(Level(atomic))


def leave(
    atomic: Atomic,
    exc_type: type[BaseException] | None,
    exc_value: BaseException | None,
    traceback: TracebackType | None,
) -> None:
    """Close a block: the user databases first, ``default`` last, all of them the same way."""
    if not covers_users(atomic):
        _exit(atomic, exc_type, exc_value, traceback)
        return
    level = _levels.stack.pop()
    _agree_on_rollback(level)
    raised: Raised = (exc_type, exc_value, traceback)
    failure: BaseException | None = None
    for alias, block in level.joined.items():
        try:
            _leave_as_user(alias, block, raised)
        except BaseException as error:  # noqa: BLE001, because default must be left, too
            failure = failure or error
            raised = (type(error), error, error.__traceback__)
    _exit(atomic, *raised)
    _return_connections(level)
    if failure is not None:
        raise failure


def _agree_on_rollback(level: Level) -> None:
    """Spread the wish of one database to be rolled back to all of them."""
    together = [connections[alias] for alias in (DEFAULT_DB_ALIAS, *level.joined)]
    if any(connection.needs_rollback for connection in together):
        for connection in together:
            connection.needs_rollback = True


def _leave_as_user(alias: str, block: Atomic, raised: Raised) -> None:
    # As that user, because closing a savepoint takes a cursor, and another may be active by now.
    with Block(Activation(key=key_of_alias(alias)), releases=False):
        _exit(block, *raised)


def _return_connections(level: Level) -> None:
    """Return the connections of users who joined but are not active any more."""
    if not _levels.stack and current_activation() is None and level.joined:
        release(force=Force.CURSORS)


def forget(alias: str) -> None:
    """Have this thread open a user's database anew, because another file is the user's from now on.

    What was begun on the old file is over; at its next use the new one joins the open blocks.
    """
    for level in _levels.stack:
        level.joined.pop(alias, None)
    connection = connections[alias]
    connection.in_atomic_block = False  # Because close() breaks a block that is open.
    connection.close()


def run_as_registered(on_commit: Callable[..., None]) -> Callable[..., None]:
    """Run a callback as the user who was active when it was registered."""

    @functools.wraps(on_commit)
    def registered(
        self: BaseDatabaseWrapper, func: Callable[[], object], *args: object, **kwargs: object
    ) -> None:
        activation = current_activation()
        if activation is None or not callable(func):
            on_commit(self, func, *args, **kwargs)
            return
        # Not asked for the key, because a request that touches no user model must cost no query.
        known = activation.glance()
        at_commit = activation if known is None else Activation(key=known)

        @functools.wraps(func)
        def as_user() -> None:
            with Block(at_commit, releases=False):
                func()

        on_commit(self, as_user, *args, **kwargs)

    return registered


def install() -> None:
    """Teach Django's ``Atomic`` about user databases; called once, when the apps are ready.

    ``Atomic`` says of itself that it is private. Its ``__enter__`` and ``__exit__`` are replaced on
    the class, so that every ``from django.db.transaction import atomic`` is covered, and
    ``DEFAULT_DB_ALIAS`` in its module, which a bare ``@atomic`` passes on (Django 5.2 to 6.1).
    """
    if Atomic.__enter__ is enter:
        return
    on_commit = run_as_registered(BaseDatabaseWrapper.on_commit)
    for owner, name, replacement in (
        (Atomic, "__enter__", enter),
        (Atomic, "__exit__", leave),
        (transaction, "DEFAULT_DB_ALIAS", UNNAMED),
        (BaseDatabaseWrapper, "on_commit", on_commit),
    ):
        setattr(owner, name, replacement)
    # ATOMIC_REQUESTS passes on the aliases as they stand in the settings of connections.
    listed = list(connections.settings.items())
    connections.settings.clear()
    for alias, settings in listed:
        connections.settings[UNNAMED if alias == DEFAULT_DB_ALIAS else alias] = settings
