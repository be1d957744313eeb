"""What an engine promises about tables: every type of column, constraints, and changes of schema."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import ClassVar

from django.conf import settings
from django.db import IntegrityError, transaction

from dsud.testing.conformance import schema
from dsud.testing.conformance.acting import as_user, in_thread, make, read
from dsud.testing.conformance.suite import EngineSuite

_TEXTS = ("", "plain", "ä\u0308 💣 \u202e", "'; DROP TABLE x; --", "100 % _", "line\nline\ttab")
_ZONE = dt.UTC if settings.USE_TZ else None


class ColumnTests(EngineSuite):
    """What is written into a column is what is read from it, of the same type."""

    #: Values of each column of the model ``Sample``.
    sample_values: ClassVar[Mapping[str, Sequence[object]]] = {
        "big_integer": (0, -1, 2**63 - 1, -(2**63)),
        "binary": (b"", b"\x00\xff text", bytes(range(256))),
        "boolean": (True, False),
        "char": _TEXTS,
        "date": (dt.date(1, 1, 1), dt.date(2024, 2, 29), dt.date(9999, 12, 31)),
        "date_time": (
            dt.datetime(1970, 1, 1, tzinfo=_ZONE),
            dt.datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=_ZONE),
        ),
        "decimal": (Decimal("0.000"), Decimal("-999999999.999"), Decimal("0.100")),
        "duration": (dt.timedelta(0), dt.timedelta(days=-400, microseconds=1)),
        "float": (0.0, 0.1, -1.5e300, 5e-324),
        "integer": (0, 2**31 - 1, -(2**31)),
        "ip_address": ("127.0.0.1", "2001:db8::1"),
        "json": ({}, [], 0, False, "text", {"a": [1, 2.5, None, {"ä": "💣"}], "": True}),
        "small_integer": (0, 32767, -32768),
        "text": (*_TEXTS, "x" * 1_000_000),
        "time": (dt.time(0), dt.time(23, 59, 59, 999999)),
        "uuid": (uuid.UUID(int=0), uuid.UUID("0b0f5d6e-5c7b-4f7e-9d3c-2a3c5b1f0e11")),
    }

    def test_values_come_back_as_they_were(self) -> None:
        """Each type of column gives back each of its values, and finds the row by it."""
        make("1")
        for column, values in self.sample_values.items():
            for value in values:
                with self.subTest(column=column, value=repr(value)[:50]), as_user("1"):
                    row = schema.rows("Sample").create(**{column: value})
                    (found,) = schema.rows("Sample").filter(pk=row.pk, **{column: value})
                    given = getattr(found, column)
                    given = bytes(given) if isinstance(given, memoryview) else given
                    self.assertEqual((given, type(given)), (value, type(value)))

    def test_no_value_comes_back_as_none(self) -> None:
        """Each type of column can be empty."""
        make("1")
        columns = [column for column in self.sample_values if column != "uuid"]
        with as_user("1"):
            row = schema.rows("Sample").create()
            (found,) = schema.rows("Sample").filter(pk=row.pk).values(*columns)
        self.assertEqual(found, dict.fromkeys(columns))

    def test_json_is_searched_inside(self) -> None:
        """A path into a column of JSON can be filtered by."""
        make("1")
        with as_user("1"):
            schema.rows("Sample").create(json={"a": {"b": [1, 2]}}, text="found")
            schema.rows("Sample").create(json={"a": {"b": [3]}}, text="other")
            found = schema.rows("Sample").filter(json__a__b__0=1).values_list("text", flat=True)
            self.assertEqual(list(found), ["found"])


def key_of_a_reader() -> object:
    """Return a primary key that a user of this site could have."""
    field = schema.state_before().apps.get_model(settings.AUTH_USER_MODEL)._meta.pk
    return uuid.uuid4() if field.get_internal_type() == "UUIDField" else 4711


class ConstraintTests(EngineSuite):
    """The database itself refuses rows that break the rules of the models."""

    def test_unique_column_refuses_a_second_row(self) -> None:
        """A value that must be unique is taken once by each user, and by all of them."""
        make("1", "2")
        for key in ("1", "2"):
            with as_user(key) as connection:
                schema.rows("Entry").create(text="first", code="same")
                with self.assertRaises(IntegrityError), transaction.atomic(using=connection.alias):
                    schema.rows("Entry").create(text="second", code="same")
            self.assertEqual(read(key), ["first"])

    def test_check_refuses_a_row(self) -> None:
        """A condition that a constraint demands is enforced."""
        make("1")
        with as_user("1"), self.assertRaises(IntegrityError):
            schema.rows("Entry").create(text="in debt", amount=-1)

    def test_column_that_must_have_a_value_refuses_none(self) -> None:
        """A column without ``null`` refuses NULL."""
        make("1")
        with as_user("1"), self.assertRaises(IntegrityError):
            schema.rows("Entry").create(text=None)

    def test_foreign_key_is_enforced_at_commit(self) -> None:
        """A key to a row that there is not may stand until the commit, which then fails."""
        make("1")
        with as_user("1") as connection:
            with transaction.atomic(using=connection.alias):
                schema.rows("Remark").create(entry_id=1)
                schema.rows("Entry").create(pk=1, text="came later")
            reached = False
            with self.assertRaises(IntegrityError), transaction.atomic(using=connection.alias):
                schema.rows("Remark").create(entry_id=12345)
                reached = True
            self.assertTrue(reached)
            self.assertEqual(schema.rows("Remark").count(), 1)

    def test_functions_work_inside_the_schema(self) -> None:
        """Django's functions can be used by a generated column, an index and a constraint."""
        make("1")
        with as_user("1"):
            row = schema.rows("Sample").create(char="Allowed", date=dt.date(2024, 2, 29))
            found = schema.rows("Sample").filter(date__year=2024).values_list("pk", "lower")
            self.assertEqual(list(found), [(row.pk, "allowed")])
            with self.assertRaises(IntegrityError):
                schema.rows("Sample").create(char="forbidden")

    def test_deletion_takes_rows_along(self) -> None:
        """Deleting a row deletes those that need it."""
        make("1")
        with as_user("1"):
            entry = schema.rows("Entry").create(text="mine")
            schema.rows("Remark").create(entry_id=entry.pk)
            schema.rows("Entry").all().delete()
            self.assertEqual(schema.rows("Remark").count(), 0)

    def test_key_to_a_shared_row_is_not_enforced(self) -> None:
        """A key to a model of ``default`` refers to no table, because that is in another database."""
        make("1")
        with as_user("1") as connection, transaction.atomic(using=connection.alias):
            reading = schema.rows("Reading").create(reader_id=key_of_a_reader())
            connection.check_constraints()
            found = schema.rows("Reading").values_list("reader_id", flat=True)
            self.assertEqual(list(found), [reading.reader_id])  # type: ignore[attr-defined]


def make_with_rows(user_key: str) -> None:
    """Make a database with a row in two tables."""
    make(user_key)
    with as_user(user_key):
        entry = schema.rows("Entry").create(text="kept", code="same", amount=5)
        schema.rows("Remark").create(entry_id=entry.pk)


def migrate(user_key: str) -> None:
    """Apply the second migration to a user's database."""
    with as_user(user_key) as connection:
        schema.apply(schema.SECOND_MIGRATION, connection=connection)


class MigrationTests(EngineSuite):
    """A database that has rows follows the code forwards and backwards."""

    def test_migration_keeps_rows(self) -> None:
        """Adding, renaming and altering columns keeps what is in them."""
        make_with_rows("1")
        migrate("1")
        with as_user("1"):
            entries = schema.rows("Entry", at=schema.SECOND)
            found = entries.values_list("text", "mark", "amount", "author").get()
            self.assertEqual(found, ("kept", "same", 5, "nobody"))
            self.assertEqual(schema.rows("Remark", at=schema.SECOND).count(), 1)

    def test_migration_keeps_constraints(self) -> None:
        """What was unique, checked or a key is so afterwards."""
        make_with_rows("1")
        migrate("1")
        broken = (("Entry", {"text": "x", "mark": "same"}), ("Entry", {"text": "x", "amount": -1}))
        for model, values in (*broken, ("Remark", {"entry_id": 12345})):
            with self.subTest(values=values), as_user("1"), self.assertRaises(IntegrityError):
                schema.rows(model, at=schema.SECOND).create(**values)

    def test_migration_adds_a_key_to_a_shared_row(self) -> None:
        """A column that is a key to a model of ``default`` refers to no table."""
        make_with_rows("1")
        migrate("1")
        with as_user("1"):
            schema.rows("Remark", at=schema.SECOND).create(entry_id=1, writer_id=None)
            reader = key_of_a_reader()
            schema.rows("Remark", at=schema.SECOND).create(entry_id=1, writer_id=reader)
            self.assertEqual(schema.rows("Remark", at=schema.SECOND).count(), 3)

    def test_migration_is_seen_by_others(self) -> None:
        """A connection in another thread uses the new columns."""
        make_with_rows("1")
        migrate("1")

        def look() -> list[object]:
            with as_user("1"):
                rows = schema.rows("Entry", at=schema.SECOND)
                return list(rows.values_list("author", flat=True))

        self.assertEqual(in_thread(look), ["nobody"])

    def test_migration_gives_no_key_twice(self) -> None:
        """A primary key whose row was deleted is not given to another one after a change."""
        make_with_rows("1")
        with as_user("1"):
            gone = schema.rows("Entry").create(text="short-lived").pk
            schema.rows("Entry").filter(pk=gone).delete()
        migrate("1")
        with as_user("1"):
            self.assertGreater(schema.rows("Entry", at=schema.SECOND).create(text="new").pk, gone)

    def test_migration_is_reversed(self) -> None:
        """Going back leaves the rows and the old columns."""
        make_with_rows("1")
        migrate("1")
        with as_user("1") as connection:
            schema.unapply(schema.SECOND_MIGRATION, connection=connection)
            found = schema.rows("Entry").values_list("text", "code", "amount").get()
            self.assertEqual(found, ("kept", "same", 5))
            self.assertEqual(schema.rows("Remark").count(), 1)
        self.assertEqual(read("1"), ["kept"])

    def test_failed_migration_changes_nothing(self) -> None:
        """A migration that raises half-way leaves the schema as it was."""
        make_with_rows("1")
        before = schema.state_after(schema.FIRST).clone()
        with (
            as_user("1") as connection,
            self.assertRaises(ZeroDivisionError),
            connection.schema_editor() as editor,
        ):
            schema.SECOND_MIGRATION.apply(before, editor)
            raise ZeroDivisionError
        self.assertEqual(read("1"), ["kept"])
