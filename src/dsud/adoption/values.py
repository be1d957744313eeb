"""Values as they are stored, the same on both sides of a move, and the checksum of many rows."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import marshal
import uuid
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice, repeat
from typing import NamedTuple, TypeAlias, TypeVar, cast

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import format_number
from django.db.models import DecimalField, Field, ForeignKey, JSONField, Model, UUIDField
from django.utils.duration import duration_microseconds

AnyField: TypeAlias = "Field[object, object]"
T = TypeVar("T")

Row: TypeAlias = tuple[object, ...]

#: Rows that are sorted to be summed up at once, which takes less than half the time.
FEW = 2000

#: What is summed up is a number for each row, so that the order of rows, which databases differ in,
#: is no matter.
_MODULUS = 1 << 128


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield items some at a time."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some


class Content(NamedTuple):
    """What a table holds of one user: how many rows, and their checksum."""

    rows: int
    checksum: str


NOTHING = Content(0, "0" * 32)


class Checksum:
    """Counts rows, and sums them up in whatever order they come."""

    def __init__(self) -> None:
        self._rows = 0
        self._few: list[bytes] = []
        self._sum = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Take further rows into account."""
        # Version 0, because it depends on nothing but the values.
        dumped = list(map(marshal.dumps, cast("Iterable[tuple[str, ...]]", rows), repeat(0)))
        self._rows += len(dumped)
        self._few += dumped
        if self._rows > FEW:  # By now or since long: no more than these are ever in memory.
            self._sum = (self._sum + sum(map(_number, self._few))) % _MODULUS
            self._few.clear()

    def content(self) -> Content:
        """Return what was added."""
        if not self._rows:
            return NOTHING
        found = self._sum if self._rows > FEW else _number(b"".join(sorted(self._few)))
        return Content(self._rows, f"{found:032x}")


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "big")


def stored_fields(model: type[Model]) -> list[AnyField]:
    """Return the fields that a model's own table stores, without those that the database computes."""
    return [
        field
        for field in model._meta.local_concrete_fields
        if not getattr(field, "generated", False)
    ]


def _pointed_to(field: AnyField) -> AnyField:
    """Return the field whose values a field has: a key has those of the one that it points to."""
    while isinstance(field, ForeignKey):
        field = field.target_field
    return field


class Spelling:
    """How one table's values are given to the database that they go to.

    Taken from any database as its driver gives them: no field's own conversion is run, because
    a field may encrypt, or look things up, or depend on who is active.
    """

    def __init__(
        self, fields: Sequence[AnyField], connection: BaseDatabaseWrapper, *, other: str
    ) -> None:
        """``other`` is the alias of the database on the other side of the move."""
        self._connection = connection
        # SQLite has no exact numbers: what it holds stays as it is, whatever the field would make of it.
        exact = connections[other].vendor != "sqlite"
        self._decimals = {
            index: field
            for index, field in enumerate(fields)
            if exact and isinstance(field, DecimalField)
        }
        # Others keep documents in a form of their own.
        self._documents = [
            index for index, field in enumerate(fields) if exact and isinstance(field, JSONField)
        ]
        # MariaDB gives its own type as text with dashes, which would be found by no query elsewhere.
        dashed = exact and not connection.features.has_native_uuid_field
        self._uuids = [
            index
            for index, field in enumerate(fields)
            if dashed and isinstance(_pointed_to(field), UUIDField)
        ]

    def rows(self, rows: Iterable[Sequence[object]]) -> list[Row]:
        """Return rows as they are stored."""
        plain = [tuple(map(self._plain, row)) for row in rows]
        special = self._decimals or self._documents or self._uuids
        return [self._with_special(row) for row in plain] if special else plain

    def _plain(self, value: object) -> object:
        if value is None or isinstance(value, (str, float, bytes)):
            return value
        if isinstance(value, int):  # Of whatever class; booleans are stored as numbers.
            return int(value)
        return self._converted(value)

    def _converted(self, value: object) -> object:
        """Return what the ORM would give the database for a value of this type."""
        features = self._connection.features
        if isinstance(value, (dt.date, dt.time)):  # A datetime is a date, too.
            return self._moment(value)
        if isinstance(value, dt.timedelta):
            return value if features.has_native_duration_field else duration_microseconds(value)
        if isinstance(value, uuid.UUID):
            return value if features.has_native_uuid_field else value.hex
        return bytes(value) if isinstance(value, (memoryview, bytearray)) else value

    def _moment(self, value: dt.date | dt.time) -> object:
        ops = self._connection.ops
        if isinstance(value, dt.datetime):
            return ops.adapt_datetimefield_value(value)
        if isinstance(value, dt.date):
            return ops.adapt_datefield_value(value)
        return ops.adapt_timefield_value(value)

    def _with_special(self, row: Row) -> Row:
        values = list(row)
        for index in self._documents:
            if isinstance(document := values[index], str):
                values[index] = json.dumps(json.loads(document), sort_keys=True)
        for index in self._uuids:
            if isinstance(text := values[index], str):
                values[index] = text.replace("-", "")
        for index, field in self._decimals.items():
            if values[index] is not None:
                exact = Decimal(str(values[index]))
                values[index] = format_number(exact, field.max_digits, field.decimal_places)
        return tuple(values)
