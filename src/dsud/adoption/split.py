"""One user's rows of ``default`` put into the user's database: copied, verified, then published."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.files.storage import Storage
from django.db import Error

from dsud import provisioning, schema
from dsud.adoption.attached import AttachedCarrier, source_file
from dsud.adoption.carriers import Carrier, StreamingCarrier
from dsud.adoption.media import copy_files, file_fields, names_of
from dsud.adoption.owners import movable_models
from dsud.adoption.plan import Plan
from dsud.adoption.record import Contents, recorded, tables_with_rows
from dsud.adoption.values import NOTHING
from dsud.connections import alias_of
from dsud.context import use_user
from dsud.engines import engine
from dsud.exceptions import UserDatabaseError

MOVED = "moved"
ALREADY = "moved before"


class NotMoved(UserDatabaseError):
    """Raised when a user's rows were not moved: what is in ``default`` and what the user has stay as they are."""


@contextmanager
def carrier_for(plan: Plan) -> Iterator[Carrier]:
    """Give the quickest way from ``default`` to the engine's databases."""
    source = source_file()
    carrier = (
        AttachedCarrier(plan, source)
        if source is not None and engine().attaches
        else StreamingCarrier(plan)
    )
    try:
        yield carrier
    finally:
        carrier.close()


class Split:
    """A split that is going on."""

    def __init__(self, plan: Plan, carrier: Carrier, *, files_from: Storage) -> None:
        self._plan = plan
        self._carrier = carrier
        self._files_from = files_from
        self._has_files = bool(file_fields(plan))
        self._models = movable_models()

    def move(self, key: str) -> tuple[str, int]:
        """Move one user's rows; return whether that was done now, and how many rows there are.

        Raises ``NotMoved``, ``MissingFile`` and what the engine raises; nothing was changed then.
        """
        with use_user(key), _typed(key):
            with provisioning.filling(key) as is_new:
                before = None if is_new else self._done_before(key)
                contents = before or self._fill(key, is_new=is_new)
            rows = sum(content.rows for content in contents.values())
            return ALREADY if before else MOVED, rows

    def _done_before(self, key: str) -> Contents | None:
        """Return what a former run moved, or None when the user's database is empty.

        Raises ``NotMoved`` when it is neither.
        """
        if (before := recorded(key)) is not None:
            refuse_changed(key, before, self._carrier.contents_of_source(key, self._owner(key)))
            return before
        if full := tables_with_rows(key, self._models):
            raise NotMoved(
                key,
                f"The database of user {key!r} has rows already: {', '.join(full)}. They were left as"
                " they are, and so were the user's rows in `default`. Delete the ones or the others.",
            )
        if not schema.is_current(alias_of(key)):
            raise NotMoved(
                key,
                f"The database of user {key!r} lacks migrations. Run"
                f" `manage.py migrate_user_dbs --user {key}` and then this again.",
            )
        return None

    def _owner(self, key: str) -> object:
        return self._plan.owners[key]

    def _fill(self, key: str, *, is_new: bool) -> Contents:
        provisioning.part_from(key)
        with self._carrier.open(key, is_new=is_new) as load:
            if is_new:
                load.clear()
            load.fill(self._owner(key))
            contents = load.contents()
            refuse_changed(key, contents, self._carrier.contents_of_source(key, self._owner(key)))
            load.record(contents)
            if self._has_files:
                names = names_of(self._owner(key), self._plan)
                copy_files(key, names, self._files_from)
        return contents


def refuse_changed(key: str, moved: Contents, source: Contents) -> None:
    """Raise ``NotMoved`` unless ``default`` holds exactly what was moved."""
    changed = [
        label
        for label in {**moved, **source}
        if moved.get(label, NOTHING) != source.get(label, NOTHING)
    ]
    if changed:
        raise NotMoved(
            key,
            f"The rows of user {key!r} in `default` are not those that were moved:"
            f" {', '.join(changed)}. Keep everybody from writing there, and compare them.",
        )


@contextmanager
def _typed(key: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error, Error) as error:
        raise NotMoved(
            key,
            f"The rows of user {key!r} were not moved: {error}."
            " Nothing was changed; mend the cause and run this again.",
        ) from error
