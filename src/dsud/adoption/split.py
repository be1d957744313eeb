"""One user's rows of ``default`` put into the user's database: copied, verified, then published."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from django.core.files.storage import Storage

from dsud import schema
from dsud.adoption.attached import AttachedCarrier, source_file
from dsud.adoption.carriers import Carrier, StreamingCarrier
from dsud.adoption.faults import typed
from dsud.adoption.media import copy_files, file_fields, names_of
from dsud.adoption.plan import Plan
from dsud.adoption.record import Contents, recorded, tables_with_rows
from dsud.adoption.values import NOTHING
from dsud.connections import alias_of
from dsud.context import use_user
from dsud.engines import engine
from dsud.exceptions import UserDatabaseError
from dsud.filling import filling
from dsud.opening import as_they_are
from dsud.registrations import Registrations, registering
from dsud.retirement import reopen_at_next_use

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


@contextmanager
def splitting(plan: Plan, *, files_from: Storage) -> Iterator[Split]:
    """Give what moves users one after the other; ``registrations`` end with the block."""
    with carrier_for(plan) as carrier, registering() as registrations:
        yield Split(plan, carrier, registrations, files_from=files_from)


class Split:
    """A split that is going on."""

    def __init__(
        self, plan: Plan, carrier: Carrier, registrations: Registrations, *, files_from: Storage
    ) -> None:
        self._plan = plan
        self._carrier = carrier
        self._registrations = registrations
        self._files_from = files_from
        self._has_files = bool(file_fields(plan))
        self._tables = {table.label: table for table in plan.tables}

    def move(self, key: str) -> tuple[str, int]:
        """Move one user's rows; return whether that was done now, and how many rows there are.

        Raises ``NotMoved``, ``FileNotMoved`` and what the engine raises; nothing was changed then.
        """
        what = f"The rows of user {key!r} were not moved"
        with (
            use_user(key),
            as_they_are(),
            typed(key, NotMoved, what),
            filling(key, self._registrations) as is_new,
        ):
            before = {} if is_new else recorded(key)
            missing = list(self._tables) if is_new else self._not_moved(key, before)
            contents = self._fill(key, missing, is_new=is_new) if missing else before
        rows = sum(content.rows for content in contents.values())
        return MOVED if missing else ALREADY, rows

    def _not_moved(self, key: str, before: Contents) -> list[str]:
        """Return of which models rows are to be moved into a database that is there already.

        Raises ``NotMoved`` when it has rows of them, or ``default`` is not as it was when others
        were moved.
        """
        source = self._carrier.contents_of_source(key, self._owner(key), self._tables)
        refuse_changed(key, before, source)
        missing = [label for label in source if label not in before and source[label].rows]
        if not missing:
            return []
        if not schema.is_current(alias_of(key)):
            raise NotMoved(
                key,
                f"The database of user {key!r} lacks migrations. Run"
                f" `manage.py migrate_user_dbs --user {key}` and then this again.",
            )
        if full := tables_with_rows(key, [self._tables[label].model for label in missing]):
            raise NotMoved(
                key,
                f"The database of user {key!r} has rows already: {', '.join(full)}. They were left as"
                " they are, and so were the user's rows in `default`. Delete the ones or the others.",
            )
        return missing

    def _owner(self, key: str) -> object:
        return self._plan.owners[key]

    def _fill(self, key: str, labels: Collection[str], *, is_new: bool) -> Contents:
        reopen_at_next_use(key)
        owner = self._owner(key)
        with self._carrier.open(key, labels, is_new=is_new) as load:
            if is_new:
                load.clear()
            load.fill(owner)
            contents = load.contents()
            source = self._carrier.contents_of_source(key, owner, labels)
            refuse_changed(key, contents, source, deleted=False)
            load.record(contents)
            if self._has_files:
                copy_files(key, names_of(owner, self._plan, labels), self._files_from)
        return contents


def refuse_changed(key: str, moved: Contents, source: Contents, *, deleted: bool = True) -> None:
    """Raise ``NotMoved`` unless ``default`` holds exactly what was moved, of the models in both.

    That nothing is left there is as good, where rows may have been ``deleted`` since.
    """
    changed = [
        label
        for label, content in source.items()
        if label in moved and content != moved[label] and (content != NOTHING or not deleted)
    ]
    if changed:
        raise NotMoved(
            key,
            f"The rows of user {key!r} in `default` are not those that were moved:"
            f" {', '.join(changed)}. Keep everybody from writing there, and compare them.",
        )
