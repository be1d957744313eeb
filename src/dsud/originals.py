"""Whether the copies in one user database after the other are what they are copies of, told at a glance."""

from __future__ import annotations

import functools
import time

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from dsud.mirrored import as_stored, is_of_users, mirrored_models, stored_key

#: For how long originals are taken for unchanged; who saves one meanwhile has its copies renewed.
KEPT_SECONDS = 1.0

#: How many users' own rows are read at once.
AHEAD = 64


class Originals:
    """The originals of many databases, read for many users at once and kept for a moment."""

    def __init__(self) -> None:
        self._read = 0.0
        self._shared: dict[type[Model], list[tuple[object, ...]]] = {}
        self._own: dict[type[Model], dict[object, tuple[object, ...]]] = {}
        self._models = [(model, is_of_users(model)) for model in mirrored_models()]

    def are_copied(self, key: str, connection: BaseDatabaseWrapper) -> bool:
        """Tell that a user's database holds what it should, bit for bit.

        Otherwise, or where one kind of database stores what another has, ``mirrors.renew`` is to look.
        """
        default = connections[DEFAULT_DB_ALIAS]
        if not connection.vendor == default.vendor == "sqlite":
            return False
        if time.monotonic() - self._read > KEPT_SECONDS:
            self._read = time.monotonic()
            self._shared.clear()
            self._own.clear()
        with connection.wrap_database_errors:
            return all(
                connection.connection.execute(_sql_of_copies(model)).fetchall()
                == (self._own_row(model, key, default) if is_own else self._all(model, default))
                for model, is_own in self._models
            )

    def _all(self, model: type[Model], default: BaseDatabaseWrapper) -> list[tuple[object, ...]]:
        if model not in self._shared:
            self._shared[model] = as_stored(model, default)
        return self._shared[model]

    def _own_row(
        self, model: type[Model], key: str, default: BaseDatabaseWrapper
    ) -> list[tuple[object, ...]]:
        own, pk = self._own.setdefault(model, {}), stored_key(model, key, default)
        if pk not in own:
            # The next ones, because the fleet goes through users in their order, or nearly so.
            rows = as_stored(model, default, of=pk, and_after=AHEAD)
            place = _place_of_key(model)
            own.update({row[place]: row for row in rows})
        return [own[pk]] if pk in own else []


def _columns(model: type[Model]) -> list[str]:
    fields = model._meta.local_concrete_fields
    return [str(field.column) for field in fields if field.column and not field.generated]


def _place_of_key(model: type[Model]) -> int:
    return _columns(model).index(str(model._meta.pk.column))


@functools.cache
def _sql_of_copies(model: type[Model]) -> str:
    """Return the SELECT of all copies as they are stored: ``+`` keeps them from being converted."""
    table = model._meta.db_table
    columns = ", ".join(f'+"{table}"."{column}"' for column in _columns(model))
    return f'SELECT {columns} FROM "{table}" ORDER BY "{model._meta.pk.column}"'  # noqa: S608, because models name them
