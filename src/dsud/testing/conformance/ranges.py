"""What an engine promises about ranges of primary keys: each user's rows have their own, for good."""

from __future__ import annotations

from unittest import SkipTest

from dsud.engines import engine
from dsud.engines.ranges import KeyRange
from dsud.exceptions import NotSupportedByEngine
from dsud.testing.conformance import schema
from dsud.testing.conformance.acting import as_user, in_thread, make, prepare
from dsud.testing.conformance.suite import EngineSuite


def keys(number: int, *models: str) -> KeyRange:
    """Return a range for the tables of some models, and one that no database has yet."""
    tables = [schema.rows(model).model._meta.db_table for model in models or ("Entry", "Remark")]
    return KeyRange(number, (*tables, "no_such_table"))


def add(user_key: str, model: str = "Entry", **values: object) -> int:
    """Add a row as a user and return its primary key."""
    with as_user(user_key):
        return int(schema.rows(model).create(**values).pk)


def begin(user_key: str, given: KeyRange) -> int:
    """Give a database that is there a range, and return the last key that it gave before."""
    with as_user(user_key) as connection:
        return engine().begin_keys(connection, given)


def number(user_key: str) -> int | None:
    """Return the number that is noted in a database."""
    with as_user(user_key) as connection:
        return engine().key_number(connection)


def skip_without_ranges() -> None:
    """Skip the test if the engine does not say that it can give ranges."""
    if not engine().supports_distinct_keys:
        raise SkipTest("The engine gives no ranges of keys: supports_distinct_keys is not True.")


class DistinctKeyTests(EngineSuite):
    """New rows take keys of the range that their database was given, if the engine can do that."""

    def test_ranges_are_refused_or_given(self) -> None:
        """An engine that says that it can give ranges can, and another one says that it cannot."""
        make("1")
        if engine().supports_distinct_keys:
            begin("1", keys(1))
            return
        with self.assertRaises(NotSupportedByEngine):
            begin("1", keys(1))
        with self.assertRaises(NotSupportedByEngine):
            number("1")

    def test_new_databases_have_their_ranges(self) -> None:
        """A database is born with its range, and each table has all of it."""
        skip_without_ranges()
        fingerprint = prepare()
        for user_key, given in (("1", keys(7)), ("2", keys(8))):
            with engine().lock(user_key):
                engine().stage(user_key, fingerprint, keys=given).publish()
        for user_key, given in (("1", keys(7)), ("2", keys(8))):
            self.assertEqual(number(user_key), given.number)
            entry = add(user_key, text="first")
            self.assertEqual(entry, given.start + 1)
            self.assertEqual(add(user_key, "Remark", entry_id=entry), given.start + 1)
            self.assertEqual(add(user_key, text="second"), given.start + 2)

    def test_database_staged_for_a_test_has_its_range(self) -> None:
        """``stage_for_test`` gives a range, too."""
        skip_without_ranges()
        staged = engine().stage_for_test("1", prepare(), keys=keys(7))
        self.addCleanup(staged.discard)

        self.assertEqual(add("1", text="first"), keys(7).start + 1)

    def test_other_tables_are_left_alone(self) -> None:
        """A table that is not named gives the keys that it would have given."""
        skip_without_ranges()
        make("1")
        begin("1", keys(7, "Entry"))

        self.assertEqual(add("1", "Sample"), 1)

    def test_rows_keep_their_keys(self) -> None:
        """A database that has rows gets a range for the next ones, which others see, too."""
        skip_without_ranges()
        make("1")
        old = add("1", text="old")
        self.assertIsNone(number("1"))
        self.assertEqual(begin("1", keys(7)), keys(7).start)

        self.assertEqual(in_thread(lambda: number("1")), 7)
        self.assertEqual(in_thread(lambda: add("1", text="new")), keys(7).start + 1)
        with as_user("1"):
            self.assertEqual(
                list(schema.rows("Entry").order_by("pk").values_list("pk", "text")),
                [(old, "old"), (keys(7).start + 1, "new")],
            )

    def test_beginning_again_gives_no_key_twice(self) -> None:
        """To begin once more changes nothing, also when the last rows were deleted."""
        skip_without_ranges()
        make("1")
        begin("1", keys(7))
        last = [add("1", text="short-lived") for _ in range(3)][-1]
        with as_user("1"):
            schema.rows("Entry").all().delete()

        self.assertEqual(begin("1", keys(7)), last)
        self.assertEqual(add("1", text="next"), last + 1)

    def test_last_key_is_told(self) -> None:
        """A row with a key of another range is noticed, and another range can be given."""
        skip_without_ranges()
        make("1")
        begin("1", keys(7))
        add("1", text="from elsewhere", id=keys(9).start + 5)

        self.assertEqual(begin("1", keys(7)), keys(9).start + 5)
        begin("1", keys(10))
        self.assertEqual(number("1"), 10)
        self.assertEqual(add("1", text="next"), keys(10).start + 1)

    def test_range_survives_a_migration(self) -> None:
        """Tables that are changed go on where they were, those without rows included."""
        skip_without_ranges()
        make("1")
        begin("1", keys(7))
        entry = add("1", text="short-lived")
        with as_user("1") as connection:
            schema.rows("Entry").all().delete()
            schema.apply(schema.SECOND_MIGRATION, connection=connection)
            entries = schema.rows("Entry", at=schema.SECOND)
            self.assertEqual(entries.create(text="next").pk, entry + 1)
        self.assertEqual(number("1"), 7)
