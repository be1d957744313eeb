"""One ``atomic()`` over ``default`` and the active user's database."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import TracebackType
from typing import TypeAlias

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic

from dsud import open_blocks
from dsud.connections import key_of_alias, release, uncounted
from dsud.context import Activation, Block, active_key, current_activation, stand_in
from dsud.leases import Force

Raised: TypeAlias = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class Unnamed(str):
    """The alias ``default`` where nobody wrote it: ``@atomic`` and ``ATOMIC_REQUESTS``."""

    __slots__ = ()


UNNAMED = Unnamed(DEFAULT_DB_ALIAS)


class Level:
    """An open block on ``default``, and the blocks of the user databases that joined it."""

    def __init__(self, atomic: Atomic, around: Level | None = None) -> None:
        self.atomic = atomic
        self.joined: dict[str, Atomic] = {}
        #: Their connections, because a test may have thousands, and Django takes long to find one.
        self.connections: dict[str, BaseDatabaseWrapper] = {}
        self.undo: list[Callable[[], None]] = []
        #: The user databases that were made since a test opened the block, and go with it.
        self.born: set[str] = set()
        #: The user databases that may join, because they take part in the block around this one.
        self.sound: dict[str, BaseDatabaseWrapper] = {}
        if around is not None and atomic.savepoint:
            waiting = {**around.connections, **around.sound}
            self.sound = {alias: each for alias, each in waiting.items() if not each.needs_rollback}

    def join(self, alias: str, block: Atomic) -> None:
        """Let a user database take part with a block of its own, which is open."""
        self.joined[alias] = block
        self.connections[alias] = connections[alias]

    def forget(self, alias: str) -> None:
        """Let a user database take part no more."""
        for found in (self.joined, self.connections, self.sound):
            found.pop(alias, None)
        self.born.discard(alias)

    @property
    def is_of_a_test(self) -> bool:
        """Tell whether ``TestCase`` opened the block: it is rolled back with all that is in it."""
        return bool(getattr(self.atomic, "_from_testcase", False))


class Levels(threading.local):
    """The open blocks of this thread, the outermost first."""

    def __init__(self) -> None:
        self.stack: list[Level] = []
        # The alias that is joining now, because BEGIN and SAVEPOINT themselves ask for cursors.
        self.joining: str | None = None
        self.leaving: str | None = None
        #: The alias that joins none of the first so many blocks, because it is undone by itself.
        self.apart: tuple[str, int] | None = None


_levels = Levels()
_enter = Atomic.__enter__
_exit = Atomic.__exit__


def covers_users(atomic: Atomic) -> bool:
    """Tell whether a block was opened without an alias, so that it covers the user's database."""
    return atomic.using is None or isinstance(atomic.using, Unnamed)


def join(connection: BaseDatabaseWrapper) -> None:
    """Let a user's database join the blocks that are open, before it is used for the first time.

    It joins each level with a block of its own, so that it rolls back at the depth that fails; one
    that was made in a test has no state to go back to from before.
    """
    stack, alias = _levels.stack, connection.alias
    if not stack or alias in stack[-1].joined or alias == _levels.joining:
        return
    if _levels.apart is not None and alias == _levels.apart[0]:
        stack = stack[_levels.apart[1] :]
    elif key_of_alias(alias) != active_key() and not _may_be_anybodys():
        # An explicit alias stays explicit, but what a test writes ends with the test. What it writes
        # in this block is not undone with it, so that its wish to be rolled back outlives the block.
        for level in stack:
            level.sound.pop(alias, None)
        stack = [level for level in stack if level.is_of_a_test]
    _levels.joining = alias
    try:
        for level in stack[_depth_of_birth(stack, alias) :]:
            if alias not in level.joined:
                block = Atomic(alias, level.atomic.savepoint, False)
                block._from_testcase = level.is_of_a_test  # type: ignore[attr-defined]
                # A test did not ask for its own block, and counts no query for it.
                with uncounted(connection) if level.is_of_a_test else nullcontext():
                    _enter(block)
                level.join(alias, block)
    finally:
        _levels.joining = None


def _depth_of_birth(stack: list[Level], alias: str) -> int:
    return next((depth for depth, level in enumerate(stack) if alias in level.born), 0)


def follows_default(alias: str) -> bool:
    """Tell whether a user's database opens or closes a block at this moment because it joined one."""
    return alias in (_levels.joining, _levels.leaving)


def _may_be_anybodys() -> bool:
    """Tell whether a test has nobody active, so that each row goes to its own user."""
    return current_activation() is None and stand_in.get() is not None


def is_of_a_test() -> bool:
    """Tell whether this thread is inside a ``TestCase``, where nothing is ever committed."""
    return bool(_levels.stack) and _levels.stack[0].is_of_a_test


def joined() -> list[str]:
    """Return the user databases that joined the innermost block."""
    return list(_levels.stack[-1].joined) if _levels.stack else []


def undo_with_block(undo: Callable[[], None]) -> None:
    """Call something when the innermost block, or one around it, is rolled back."""
    _levels.stack[-1].undo.append(undo)


def after_blocks(do: Callable[[], None]) -> None:
    """Call something as soon as no transaction of ``default`` is open, however that ends."""
    if not connections[DEFAULT_DB_ALIAS].in_atomic_block:
        do()
        return
    again = functools.partial(after_blocks, do)
    transaction.on_commit(again, using=DEFAULT_DB_ALIAS)
    if _levels.stack:  # A block that names ``default`` is none of these.
        undo_with_block(again)


def end_birth_with_block(alias: str, undo: Callable[[], None]) -> None:
    """Call something when the block is rolled back in which a test has made a user database.

    What a test opened is always rolled back, which the innermost block may not be.
    """
    undo_with_block(undo)
    next(level for level in reversed(_levels.stack) if level.is_of_a_test).born.add(alias)


def is_undone_around(undo: Callable[[], None]) -> bool:
    """Tell whether something will be called only when a block around the innermost one rolls back."""
    return any(undo in level.undo for level in _levels.stack[:-1])


def enter(atomic: Atomic) -> None:
    """Open a block; one without an alias waits for user databases to join it."""
    if not covers_users(atomic):
        if _levels.stack and key_of_alias(alias := atomic.using or "") is not None:
            join(connections[alias])
        _enter(atomic)
        open_blocks.entered(atomic.using)
        return
    atomic.using = UNNAMED  # Because None means a block that is open, see open_blocks.
    _enter(atomic)
    open_blocks.entered(None)
    _levels.stack.append(Level(atomic, _levels.stack[-1] if _levels.stack else None))


def leave(
    atomic: Atomic,
    exc_type: type[BaseException] | None,
    exc_value: BaseException | None,
    traceback: TracebackType | None,
) -> None:
    """Close a block: the user databases first, ``default`` last, all of them the same way."""
    open_blocks.left()
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
    failed = raised[0] is not None or connections[DEFAULT_DB_ALIAS].needs_rollback
    try:
        _exit(atomic, *raised)
    except BaseException:
        failed = True
        raise
    finally:
        _settle(level, failed=failed)
        _return_connections(level)
    if failure is not None:
        raise failure


def _settle(level: Level, *, failed: bool) -> None:
    """Undo what was made in a block that is rolled back; what is around it answers for the rest."""
    if failed:
        with ExitStack() as undoing:
            for undo in level.undo:
                undoing.callback(undo)
    elif _levels.stack:
        _levels.stack[-1].undo += level.undo


def _agree_on_rollback(level: Level) -> None:
    """Spread the wish of one database to be rolled back to all of them.

    One that has not joined may wish it, too, when it fails before its first cursor; nothing was
    done to it in this block, so that it is sound when the block is over.
    """
    together = [connections[DEFAULT_DB_ALIAS], *level.connections.values()]
    waiting = [each for alias, each in level.sound.items() if alias not in level.joined]
    if any(connection.needs_rollback for connection in (*together, *waiting)):
        for connection in together:
            connection.needs_rollback = True
    for connection in waiting:
        connection.needs_rollback = False


def _leave_as_user(alias: str, block: Atomic, raised: Raised) -> None:
    before, _levels.leaving = _levels.leaving, alias
    try:
        # As that user, because closing a savepoint takes a cursor, and another may be active by now.
        with Block(Activation(key=key_of_alias(alias)), releases=False):
            _exit(block, *raised)
    finally:
        _levels.leaving = before


def _return_connections(level: Level) -> None:
    """Return the connections of users who joined but are not active any more."""
    if not _levels.stack and current_activation() is None and level.joined:
        release(force=Force.CURSORS)


@contextmanager
def undone(alias: str) -> Iterator[None]:
    """Undo what a block does to a user's database, and have its callbacks wait for ``default``.

    It joins no block around this one, so that the connection is free again when this one ends,
    however many users one transaction is about. ``run_on_commit`` has been the list of callbacks
    since Django 1.9; if it goes, the first deletion of a user whose rows somebody listens to fails.
    """
    connection = connections[alias]
    before, _levels.apart = _levels.apart, (alias, len(_levels.stack))
    try:
        with Atomic(alias, True, False):
            known = len(connection.run_on_commit)
            yield
            callbacks = connection.run_on_commit[known:]
            connection.set_rollback(True)
    finally:
        _levels.apart = before
    for _, callback, robust in callbacks:  # type: ignore[misc]
        transaction.on_commit(callback, using=DEFAULT_DB_ALIAS, robust=robust)


def forget(alias: str) -> None:
    """Have this thread open a user's database anew, because another file is the user's from now on.

    What was begun on the old file is over; at its next use the new one joins the open blocks.
    """
    for level in _levels.stack:
        level.forget(alias)
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
    open_blocks.install()
    # ATOMIC_REQUESTS passes on the aliases as they stand in the settings of connections.
    listed = list(connections.settings.items())
    connections.settings.clear()
    for alias, settings in listed:
        connections.settings[UNNAMED if alias == DEFAULT_DB_ALIAS else alias] = settings
