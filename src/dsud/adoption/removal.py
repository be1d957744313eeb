"""Rows that were moved, deleted from ``default``: only those that were, and only while they are the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction
from django.db.models import Exists, OuterRef

from dsud import models as registry
from dsud import provisioning
from dsud.adoption.carriers import Carrier
from dsud.adoption.faults import said
from dsud.adoption.owners import keys_of, points_to
from dsud.adoption.paths import CopyPath, all_rows
from dsud.adoption.plan import Plan, Table
from dsud.adoption.record import recorded
from dsud.adoption.split import NotMoved, refuse_changed
from dsud.adoption.values import in_batches
from dsud.context import use_user
from dsud.engines import engine
from dsud.exceptions import DSUDError, UserDatabaseError
from dsud.opening import as_they_are

#: How many rows one statement deletes.
BATCH = 500


DELETED = "deleted"


class NotDeleted(UserDatabaseError):
    """Raised when a user's rows stay in ``default``, because something there still needs them."""


class SplitIncomplete(DSUDError):
    """Raised when rows are to be deleted from ``default`` before all of them are moved and verified.

    ``causes`` says what is wrong, by user key.
    """

    def __init__(self, causes: dict[str, str]) -> None:
        self.causes = causes
        super().__init__(causes)

    def __str__(self) -> str:
        lines = "\n".join(f"  {key}: {cause}" for key, cause in self.causes.items())
        return (
            "Nothing was deleted, because not everything is moved. Run `manage.py split_to_user_dbs`"
            f" without --delete-source until it succeeds:\n{lines}"
        )


class Removal:
    """The deletion of moved rows from ``default``, one user after the other."""

    def __init__(self, plan: Plan, carrier: Carrier) -> None:
        self._plan = plan
        self._carrier = carrier

    def refuse_unless_moved(self, keys: Iterable[str]) -> None:
        """Raise ``SplitIncomplete`` unless the rows of all these users are moved and unchanged."""
        causes = {}
        for key in keys:
            try:
                self._verify(key)
            except UserDatabaseError as error:
                causes[key] = str(error)
        if causes:
            raise SplitIncomplete(causes)

    def _verify(self, key: str) -> None:
        """Raise ``NotMoved`` unless ``default`` has exactly what a split put into the user's database."""
        with use_user(key), as_they_are():
            moved = recorded(key) if engine().exists(key) else {}
            labels = [table.label for table in self._plan.tables]
            source = self._carrier.contents_of_source(key, self._plan.owners[key], labels)
            missing = [label for label in source if source[label].rows and label not in moved]
            if missing:
                raise NotMoved(
                    key, f"The rows of user {key!r} were never moved: {', '.join(missing)}."
                )
            refuse_changed(key, moved, source)

    def delete(self, key: str) -> tuple[str, int]:
        """Delete a user's rows from ``default``, in one transaction; return a word, and how many.

        Raises ``NotMoved`` and ``NotDeleted``; nothing was deleted then.
        """
        provisioning.refuse_missing(key)
        owner = self._plan.owners[key]
        try:
            with engine().lock(key), transaction.atomic(using=DEFAULT_DB_ALIAS):
                keys = self._held(owner)
                self._verify(key)
                own = [table for table in reversed(self._plan.tables) if not table.path.is_shared]
                if not connections[DEFAULT_DB_ALIAS].features.can_defer_constraint_checks:
                    _loosen(own, keys)
                count = sum(_delete(table, keys[table.label]) for table in own)
                for table in self._copied():
                    count += _delete(table, _unused(table, keys[table.label]))
                return DELETED, count
        except Error as error:
            raise NotDeleted(
                key,
                f"The rows of user {key!r} in `default` were not deleted: {said(error)}."
                " Something there still points to them.",
            ) from error

    def _held(self, owner: object) -> dict[str, list[object]]:
        """Return the keys of an owner's rows, which nobody else can change until they are deleted."""
        registry.hold_off_writers()
        return {table.label: _keys(table, owner) for table in self._plan.tables}

    def _copied(self) -> list[Table]:
        return [table for table in reversed(self._plan.tables) if table.path.is_shared]


def _keys(table: Table, owner: object) -> list[object]:
    keys = list(table.path.rows(table.model, owner, DEFAULT_DB_ALIAS).values_list("pk", flat=True))
    if connections[DEFAULT_DB_ALIAS].features.has_select_for_update:
        for some in in_batches(keys, BATCH):
            # In queries of their own, because one with joins cannot lock all that it reads.
            rows = all_rows(table.model, DEFAULT_DB_ALIAS).filter(pk__in=some)
            list(rows.select_for_update().values_list("pk", flat=True))
    return keys


def _unused(table: Table, keys: list[object]) -> list[object]:
    """Return those of some copied rows to which nobody's row points any more."""
    assert isinstance(table.path, CopyPath)  # noqa: S101, because only they are shared
    rows = all_rows(table.model, DEFAULT_DB_ALIAS)
    for each in table.path.incoming:
        pointing = all_rows(each.model).filter(
            **{each.key.attname: OuterRef(each.key.target_field.name)}
        )
        rows = rows.exclude(Exists(pointing))
    return [
        key
        for some in in_batches(keys, BATCH)
        for key in rows.filter(pk__in=some).values_list("pk", flat=True)
    ]


def _loosen(tables: Iterable[Table], keys: Mapping[str, list[object]]) -> None:
    """Empty keys among rows that are to be deleted in this order, where they would be in the way.

    Where the database looks at each key at once, as MySQL does, circles of keys cannot be deleted.
    """
    deleted = set()
    for table in tables:
        deleted.add(table.model)
        names = [key.name for key in keys_of(table.model) if key.null and points_to(key) in deleted]
        for some in in_batches(keys[table.label], BATCH) if names else ():
            rows = all_rows(table.model, DEFAULT_DB_ALIAS).filter(pk__in=some)
            rows.update(**dict.fromkeys(names))


def _delete(table: Table, keys: list[object]) -> int:
    """Delete rows without signals, because they live on in the user's database."""
    for some in in_batches(keys, BATCH):
        all_rows(table.model, DEFAULT_DB_ALIAS).filter(pk__in=some)._raw_delete(DEFAULT_DB_ALIAS)
    return len(keys)
