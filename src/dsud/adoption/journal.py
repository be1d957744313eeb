"""What an ordinary database says of the users who were merged into it, and which keys were changed."""

from __future__ import annotations

from django.apps import apps
from django.db import connections
from django.db.models import IntegerField

from dsud.adoption.joined import Keys
from dsud.adoption.record import Contents
from dsud.adoption.values import Content

MERGED = "dsud_merge"
CHANGED = "dsud_merge_keys"

_CREATE_MERGED = (
    f"CREATE TABLE IF NOT EXISTS {MERGED} (user_key varchar(255) NOT NULL,"
    " label varchar(255) NOT NULL, merged bigint NOT NULL, checksum varchar(64) NOT NULL,"
    " PRIMARY KEY (user_key, label))"
)
_CREATE_CHANGED = (
    f"CREATE TABLE IF NOT EXISTS {CHANGED} (user_key varchar(255) NOT NULL,"
    " label varchar(255) NOT NULL, old_key varchar(255) NOT NULL, new_key varchar(255) NOT NULL)"
)


class Journal:
    """Two tables beside the site's own; each user's lines are written along with the user's rows."""

    def __init__(self, alias: str) -> None:
        self._connection = connections[alias]

    def prepare(self) -> None:
        """Make the tables unless they are there."""
        with self._connection.cursor() as cursor:
            for sql in (_CREATE_MERGED, _CREATE_CHANGED):
                cursor.execute(sql)

    def recorded(self, user_key: str) -> Contents:
        """Return what a user's database held of each table that was merged."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"SELECT label, merged, checksum FROM {MERGED} WHERE user_key = %s",  # noqa: S608
                [user_key],
            )
            rows = cursor.fetchall()
        return {label: Content(merged, checksum) for label, merged, checksum in rows}

    def changed_keys(self, user_key: str) -> Keys:
        """Return which keys of a user's rows are others since they were merged."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"SELECT label, old_key, new_key FROM {CHANGED} WHERE user_key = %s",  # noqa: S608
                [user_key],
            )
            rows = cursor.fetchall()
        keys: Keys = {}
        for label, old, new in rows:
            model = apps.get_model(label)
            is_number = isinstance(model._meta.pk, IntegerField)
            change = (int(old), int(new)) if is_number else (old, new)
            keys.setdefault(model, {})[change[0]] = change[1]
        return keys

    def write(self, user_key: str, contents: Contents, keys: Keys) -> None:
        """Note what was merged and which keys are others now."""
        lines = [(user_key, label, *content) for label, content in contents.items()]
        with self._connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {MERGED} (user_key, label, merged, checksum)"  # noqa: S608
                " VALUES (%s, %s, %s, %s)",
                lines,
            )
            cursor.executemany(
                f"INSERT INTO {CHANGED} (user_key, label, old_key, new_key)"  # noqa: S608
                " VALUES (%s, %s, %s, %s)",
                list(_changes(user_key, keys)),
            )


def _changes(user_key: str, keys: Keys) -> list[tuple[str, str, str, str]]:
    return [
        (user_key, str(model._meta.label), str(old), str(new))
        for model, changes in keys.items()
        for old, new in changes.items()
        if old != new
    ]
