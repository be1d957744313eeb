"""What Django's test classes do for every database, done for user databases, too."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeAlias

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.signals import post_delete, post_save
from django.test import client, testcases

from dsud import engines, transactions
from dsud.connections import release
from dsud.context import stand_in
from dsud.engines import engine
from dsud.engines.hooks import Hooks
from dsud.engines.scratch import scratch
from dsud.leases import Force
from dsud.models import UserDatabase
from dsud.pool import pool
from dsud.testing.ambient import ambient, nobody_stands_in, notice_created, notice_deleted
from dsud.testing.ambient import replacements as replacements_of_ambient
from dsud.testing.enrolment import enrol_users
from dsud.testing.fixtures import replacements as replacements_of_fixtures

Guard: TypeAlias = Callable[..., object]

#: What ends a transaction or opens one. It is not counted where a user database follows ``default``,
#: whose own statements are.
_TRANSACTION_CONTROL = ("BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT")


# Queries that are counted


class Log(deque[dict[str, str]]):
    """The queries of a user's connection, which count among those of ``default``, too."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        log = connection.queries_log
        super().__init__(log, maxlen=log.maxlen)
        self._alias = connection.alias

    def append(self, query: dict[str, str]) -> None:
        """Log a query, also for whoever counts those of ``default`` at the moment."""
        super().append(query)
        default = connections[DEFAULT_DB_ALIAS]
        follows = query["sql"].startswith(_TRANSACTION_CONTROL) and transactions.follows_default(
            self._alias
        )
        if default.force_debug_cursor and not follows:
            default.queries_log.append(query)


def _count(connection: BaseDatabaseWrapper) -> None:
    """Log the queries of a user's connection from when those of ``default`` are first counted."""
    if connections[DEFAULT_DB_ALIAS].force_debug_cursor and not isinstance(
        connection.queries_log, Log
    ):
        connection.queries_log = Log(connection)
        connection.force_debug_cursor = True


# Test classes


def _refuse_where_default_is_refused() -> None:
    """Raise what ``SimpleTestCase`` raises, because user databases come with ``default``.

    It replaces methods of each connection that a test may not use (Django 5.2 to 6.1).
    """
    method: object = connections[DEFAULT_DB_ALIAS].cursor
    if isinstance(method, testcases._DatabaseFailure):
        method()


def before_cursor(connection: BaseDatabaseWrapper) -> None:
    """Do what is done in production before a cursor is made, and what tests need beside it."""
    _refuse_where_default_is_refused()
    _count(connection)
    if _before_cursor_in_production is not None:
        _before_cursor_in_production(connection)


def start_afresh() -> None:
    """Remove every user database, as a flush does with rows, and enrol the users of the settings."""
    ambient.reset()
    release(force=Force.EVERYTHING)
    pool.close_idle()
    if engine().is_initialized():
        scratch.start_afresh()
        engines.forget()
    if scratch.has_default():
        # Those whose files are gone, as an interrupted run leaves them in a default that is kept.
        UserDatabase.objects.using(DEFAULT_DB_ALIAS).all().delete()
        enrol_users()
        ambient.reset()


def _flush(teardown: Callable[[testcases.TransactionTestCase], None]) -> Guard:
    @functools.wraps(teardown)
    def flushed(self: testcases.TransactionTestCase) -> None:
        teardown(self)
        if DEFAULT_DB_ALIAS in self.databases:
            start_afresh()

    return flushed


def _check_constraints(teardown: Callable[[testcases.TestCase], None]) -> Guard:
    @functools.wraps(teardown)
    def checked(self: testcases.TestCase) -> None:
        try:
            for alias in transactions.joined():
                if self._should_check_constraints(connections[alias]):  # type: ignore[attr-defined]
                    connections[alias].check_constraints()
        finally:
            teardown(self)

    return checked


# Requests and log-ins of test clients


def _as_in_production(call: Callable[..., object]) -> Guard:
    @functools.wraps(call)
    def alone(self: client.ClientHandler, *args: object, **kwargs: object) -> object:
        with nobody_stands_in():
            return call(self, *args, **kwargs)

    return alone


def _as_in_production_async(call: Guard) -> Guard:
    @functools.wraps(call)
    async def alone(self: client.AsyncClientHandler, *args: object, **kwargs: object) -> object:
        with nobody_stands_in():
            return await call(self, *args, **kwargs)  # type: ignore[misc]

    return alone


def _noticed(login: Callable[..., object]) -> Guard:
    @functools.wraps(login)
    def noticing(self: client.Client, user: object, *args: object, **kwargs: object) -> object:
        ambient.notice_login(user)  # type: ignore[arg-type]
        return login(self, user, *args, **kwargs)

    return noticing


def _noticed_async(login: Guard) -> Guard:
    @functools.wraps(login)
    async def noticing(
        self: client.Client, user: object, *args: object, **kwargs: object
    ) -> object:
        # In the thread of the test, where its blocks are.
        await sync_to_async(ambient.notice_login)(user)  # type: ignore[arg-type]
        return await login(self, user, *args, **kwargs)  # type: ignore[misc]

    return noticing


# Installation


def _replacements() -> Iterator[tuple[object, str, Callable[..., object]]]:
    """Yield what is replaced while tests run: private parts of Django's tests (5.2 to 6.1).

    If ``_fixture_teardown`` goes, tests find what others left; if ``_login``, nobody stands in.
    """
    yield testcases.TransactionTestCase, "_fixture_teardown", _flush
    yield testcases.TestCase, "_fixture_teardown", _check_constraints
    yield client.ClientHandler, "__call__", _as_in_production
    yield client.AsyncClientHandler, "__call__", _as_in_production_async
    yield client.ClientMixin, "_login", _noticed
    yield client.ClientMixin, "_alogin", _noticed_async
    yield from replacements_of_ambient()
    yield from replacements_of_fixtures()


_replaced: list[tuple[object, str, object]] = []
_before_cursor_in_production: Callable[[BaseDatabaseWrapper], None] | None = None


def install() -> None:
    """Prepare this process and thread for tests, once Django's test environment is set up."""
    global _before_cursor_in_production  # noqa: PLW0603, because Hooks has one for the process
    stand_in.set(ambient)
    if _replaced:
        return
    for owner, name, make in _replacements():
        original = vars(owner)[name]
        _replaced.append((owner, name, original))
        setattr(owner, name, make(original))
    _before_cursor_in_production = Hooks.before_cursor
    Hooks.before_cursor = staticmethod(before_cursor)
    settings.TEST_NON_SERIALIZED_APPS = [*settings.TEST_NON_SERIALIZED_APPS, "dsud"]
    post_save.connect(notice_created, sender=get_user_model(), dispatch_uid="dsud.testing")
    post_delete.connect(notice_deleted, sender=get_user_model(), dispatch_uid="dsud.testing")


def uninstall() -> None:
    """Undo what ``install`` did."""
    stand_in.set(None)
    if not _replaced:
        return
    while _replaced:
        owner, name, original = _replaced.pop()
        setattr(owner, name, original)
    Hooks.before_cursor = _before_cursor_in_production and staticmethod(
        _before_cursor_in_production
    )
    settings.TEST_NON_SERIALIZED_APPS = settings.TEST_NON_SERIALIZED_APPS[:-1]
    post_save.disconnect(sender=get_user_model(), dispatch_uid="dsud.testing")
    post_delete.disconnect(sender=get_user_model(), dispatch_uid="dsud.testing")
    ambient.reset()
