"""Data migrations on one side at a time: where an operation belongs, and how it runs there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from django.db import router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import RunPython, RunSQL
from django.db.migrations.state import ProjectState
from django.db.models import Model
from django.db.utils import DatabaseError

from dsud.replacements import put_into_place
from dsud.router import HINT, migrating
from dsud.stand_ins import DROP, Side

AnyOperation: TypeAlias = "RunPython | RunSQL"
Guard: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]
Needed: TypeAlias = "Callable[[Side, str, object, Mapping[str, object]], list[type[Model]] | None]"


@contextmanager
def _working_on(side: Side) -> Iterator[None]:
    """Read and write every model on one side; drop the stand-ins, unless a rollback takes them."""
    token = migrating.set(side.connection.alias)
    try:
        yield
    except BaseException:
        if not (side.connection.in_atomic_block and side.connection.features.can_rollback_ddl):
            with _unbroken(side.connection):
                side.drop()
        raise
    else:
        side.drop()
    finally:
        migrating.reset(token)


@contextmanager
def _unbroken(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let statements through although an error has marked the transaction to be rolled back."""
    broken = connection.in_atomic_block and connection.get_rollback()
    if broken:
        connection.set_rollback(False)
    try:
        yield
    finally:
        if broken:
            connection.set_rollback(True)


def work(side: Side, operate: Callable[[], None], *, needed: Iterable[type[Model]]) -> None:
    """Run an operation with stand-ins for what is known to be ``needed`` of the other side.

    In a user's database it is run again, undone to its beginning, when it has missed another one.
    Where a migration is not atomic it runs once, because what it has done stays.
    """
    with _working_on(side):
        side.make(needed)
        if side.is_shared or not side.connection.in_atomic_block:
            operate()
            side.refuse_keys_to_new_rows()
            return
        while not _succeeds(side, operate):
            pass


def _succeeds(side: Side, operate: Callable[[], None]) -> bool:
    """Run an operation; tell whether it had all that it needs, and make what it has missed."""
    try:
        with transaction.atomic(using=side.alias):
            operate()
            side.refuse_keys_to_new_rows()
    except DatabaseError as error:
        if not (missed := side.missing_in(str(error))):
            raise
        side.make(missed)
    else:
        return True
    return False


def _on_one_side(needed: Needed, *, does: str) -> Guard:
    """Return what makes a method of an operation run on one side, if ``needed`` says that it runs there.

    ``does`` is the attribute of the operation with the code or the SQL that the method runs.
    """

    def guard(method: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(method)
        def run(
            self: AnyOperation,
            app_label: str,
            schema_editor: BaseDatabaseSchemaEditor,
            *states: ProjectState,
        ) -> None:
            connection = schema_editor.connection
            operate = functools.partial(method, self, app_label, schema_editor, *states)
            if _is_plain(self, connection, app_label, does=does):
                operate()
                return
            side = Side(connection, states[0])
            if (models := needed(side, app_label, getattr(self, does), self.hints)) is not None:
                work(side, operate, needed=models)

        return run

    return guard


def _is_plain(
    operation: AnyOperation, connection: BaseDatabaseWrapper, app_label: str, *, does: str
) -> bool:
    """Tell whether an operation does nothing here, or can have no stand-ins."""
    return (
        getattr(operation, does) in (None, RunSQL.noop, RunPython.noop)
        or connection.vendor not in DROP
        or not router.allow_migrate(connection.alias, app_label, **operation.hints)
    )


def _needed_by_python(
    side: Side, app_label: str, code: object, hints: Mapping[str, object]
) -> list[type[Model]]:
    if side.is_shared:
        return side.missing()  # It cannot be run again, because it may not be atomic.
    return [] if side.connection.in_atomic_block else side.missing_of(app_label)


def _needed_by_sql(
    side: Side, app_label: str, sql: object, hints: Mapping[str, object]
) -> list[type[Model]] | None:
    """Return the models whose tables the SQL names; None when they are all of the other side.

    It says by the tables that it names where it belongs, unless a hint does.
    """
    text = repr(sql)
    elsewhere = side.missing_in(text)
    if elsewhere and HINT not in hints and not side.names_its_own(text):
        return None
    return elsewhere


def install() -> None:
    """Run data migrations on one side at a time; called once, when the apps are ready.

    ``database_forwards`` and ``database_backwards`` are what Django's migrations call of every
    operation (Django 5.2 to 6.1). If they go, a migration that uses models of both sides fails.
    """
    put_into_place(
        (operation, name, _on_one_side(needed, does=does))
        for operation, needed, forwards, backwards in (
            (RunPython, _needed_by_python, "code", "reverse_code"),
            (RunSQL, _needed_by_sql, "sql", "reverse_sql"),
        )
        for name, does in (("database_forwards", forwards), ("database_backwards", backwards))
    )
