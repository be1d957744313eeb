"""Every open per-user connection: alias and user, opened on demand, returned when the user changes."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from django.core.signals import request_finished, setting_changed
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from dsud import engines
from dsud.pool import pool

ALIAS_PREFIX = "user_"
_PREFIX_LENGTH = len(ALIAS_PREFIX)

#: Django connections that a thread keeps for users it served; each costs 6 KiB, and 40 µs to make.
KEPT_PER_THREAD = 64


def alias_of(user_key: str) -> str:
    """Return Django's name for a user's connection."""
    return ALIAS_PREFIX + user_key


def key_of_alias(alias: str) -> str | None:
    """Return whose connection an alias names, or None for an ordinary alias."""
    # By slices, because it is asked a dozen times per request and they take half the time.
    return alias[_PREFIX_LENGTH:] if alias[:_PREFIX_LENGTH] == ALIAS_PREFIX else None


class AliasesOnDemand(dict[str, dict[str, object]]):
    """Django's settings of connections, answering for every ``user_<key>`` and listing none.

    Django walks what is listed three times per request, so nothing may be added to it.
    """

    def __contains__(self, alias: object) -> bool:
        return super().__contains__(alias) or (
            isinstance(alias, str) and key_of_alias(alias) is not None
        )

    def __missing__(self, alias: str) -> dict[str, object]:
        user_key = key_of_alias(alias)
        if user_key is None:
            raise KeyError(alias)
        settings = _complete(engines.engine().database_settings(user_key))
        _kept.keep(alias)
        return settings


def _complete(settings: Mapping[str, object]) -> dict[str, object]:
    """Add what Django's own ``configure_settings`` would, and no transaction per request."""
    return {
        "ENGINE": engines.engine().backend,
        "ATOMIC_REQUESTS": False,
        "AUTOCOMMIT": True,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": False,
        "OPTIONS": {},
        "TIME_ZONE": None,
        "USER": "",
        "PASSWORD": "",
        "HOST": "",
        "PORT": "",
        "TEST": {"CHARSET": None, "COLLATION": None, "MIGRATE": True, "MIRROR": None, "NAME": None},
        **settings,
    }


class KeptAliases(threading.local):
    """The user connections that Django keeps for this thread, the least recently made first."""

    def __init__(self) -> None:
        self._aliases: OrderedDict[str, None] = OrderedDict()

    def keep(self, alias: str) -> None:
        """Count a connection that Django is about to make, and drop the oldest unused beyond 64."""
        self._aliases[alias] = None
        if len(self._aliases) > KEPT_PER_THREAD:
            for old in self._aliases:
                if old != alias and self._drop(old):
                    return

    def drop_unused(self) -> None:
        """Drop all that nobody uses at the moment."""
        for alias in list(self._aliases):
            self._drop(alias)

    def _drop(self, alias: str) -> bool:
        made = _made(alias)
        if made is not None:
            if made.connection is not None or made.in_atomic_block:
                return False
            _untie(made)
            del connections[alias]
        del self._aliases[alias]
        return True


#: What Django makes with each connection and gives it as ``connection`` (``BaseDatabaseWrapper``
#: since Django 1.8).
_PARTS = ("client", "creation", "features", "introspection", "ops", "validation")


def _untie(connection: BaseDatabaseWrapper) -> None:
    """Have a connection freed as soon as nobody has it, and not when Python next looks for cycles.

    Where there are more ways around than Django's own, it is freed later, as ever.
    """
    itself, attributes = weakref.proxy(connection), vars(connection)
    attributes.pop("wrap_database_errors", None)  # Made anew by whoever still uses it.
    for name in _PARTS:
        if name in attributes:
            attributes[name].connection = itself


_kept = KeptAliases()


def _made(alias: str) -> BaseDatabaseWrapper | None:
    """Return the connection of Django's that this thread has, without making one."""
    return getattr(connections._connections, alias, None)  # type: ignore[attr-defined]


def is_open(alias: str) -> bool:
    """Tell whether this thread works on a user's database, or has done so just now."""
    made = _made(alias)
    return made is not None and made.connection is not None


def resolve_aliases_on_demand() -> None:
    """Teach Django's connection handler the aliases of users; called once, when apps are ready.

    ``ConnectionHandler.settings`` is a cached property since Django 3.2, and ``__getitem__`` asks
    it with ``in`` and by subscription only; if either changes, aliases stop resolving and every
    query of a user model raises ``ConnectionDoesNotExist``.
    """
    if not isinstance(connections.settings, AliasesOnDemand):
        connections.settings = AliasesOnDemand(connections.settings)


@contextmanager
def temporary(alias: str, settings: Mapping[str, object]) -> Iterator[BaseDatabaseWrapper]:
    """Reach a database of the engine that is no user's, under an alias only this thread knows."""
    complete = _complete(settings)
    wrapper = load_backend(str(complete["ENGINE"])).DatabaseWrapper(complete, alias)
    connections[alias] = wrapper
    try:
        yield wrapper
    finally:
        wrapper.close()
        del connections[alias]


def apart(alias: str) -> BaseDatabaseWrapper:
    """Return a connection of Django's that nobody else reaches by its alias."""
    return connections.create_connection(alias)


@contextmanager
def uncounted(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Hide queries from ``assertNumQueries``, because a project counts its own."""
    before, connection.force_debug_cursor = connection.force_debug_cursor, False
    try:
        yield
    finally:
        connection.force_debug_cursor = before


#: Returns what this thread has leased from the pool; no function around it, because every block asks.
held = pool.held


#: Returns this thread's connections to the pool, as far as they are not in use.
release = pool.release_thread


# Around a fork of workers


def close_before_fork() -> None:
    """Close this thread's connections to SQLite files, because they must not cross a fork.

    The pool closes those of users (https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_).
    """
    for connection in connections.all(initialized_only=True):
        if connection.vendor == "sqlite":
            connection.close()


def abandon_inherited() -> None:
    """Forget, in a forked child, what its parent has open, without closing it: it is the parent's.

    ``BaseConnectionHandler._connections`` has the connections of a thread as its attributes (Django
    5.2 to 6.1); if that changes, a worker talks to ``default`` on its parent's connection.
    """
    for connection in connections.all(initialized_only=True):
        _inherited.append(connection)  # Kept, because whoever collects it would close it.
        del connections[connection.alias]


_inherited: list[BaseDatabaseWrapper] = []


def close_idle() -> None:
    """Close the users' connections that nobody has in use, because they will not be needed again."""
    pool.close_idle()


class none_kept:  # noqa: N801, because it reads as a phrase
    """Keep no more of users' connections than before a block, because each user is met once in it."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = pool.idle

    def __exit__(self, *raised: object) -> None:
        if pool.idle > self._before:
            pool.close_newest(beyond=self._before)


def release_after_request(**kwargs: object) -> None:
    """Return the connections of a request when Django says that it is finished."""
    release()


request_finished.connect(release_after_request, dispatch_uid="dsud.connections.release")


def forget_connections(*, setting: str, **kwargs: object) -> None:
    """Part from Django's connections when a setting says that another engine makes them.

    The pool looks at its cap when a setting says how many it may hold.
    """
    if setting == "USER_DATABASES":
        release()
        _kept.drop_unused()
    elif setting == "DSUD_MAX_OPEN":
        pool.look_at_cap()


setting_changed.connect(forget_connections, dispatch_uid="dsud.connections.forget_connections")
