"""What an engine promises about transactions: all or nothing, for good, and beside other writers."""

from __future__ import annotations

import os
from unittest import SkipTest

from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction
from django.db.models import QuerySet

from dsud.models import UserDatabase
from dsud.testing.conformance import errands, schema
from dsud.testing.conformance.acting import as_user, in_thread, make, read, write
from dsud.testing.conformance.suite import EngineSuite

#: How many transactions each of two writers makes.
TIMES = 40


class TransactionTests(EngineSuite):
    """What belongs together is written together or not at all, and stays written."""

    def test_transaction_is_rolled_back_by_an_error(self) -> None:
        """A block that raises leaves nothing of what it wrote."""
        make("1")
        write("1", "before")
        with (
            as_user("1") as connection,
            self.assertRaises(ZeroDivisionError),
            transaction.atomic(using=connection.alias),
        ):
            schema.rows("Entry").create(text="never")
            raise ZeroDivisionError

        self.assertEqual(read("1"), ["before"])

    def test_savepoint_is_rolled_back_alone(self) -> None:
        """An inner block that raises takes back what it wrote, and no more."""
        make("1")
        with as_user("1") as connection, transaction.atomic(using=connection.alias):
            schema.rows("Entry").create(text="outer")
            with self.assertRaises(ZeroDivisionError), transaction.atomic(using=connection.alias):
                schema.rows("Entry").create(text="inner")
                raise ZeroDivisionError
            schema.rows("Entry").create(text="after")

        self.assertEqual(read("1"), ["outer", "after"])

    def test_transaction_goes_on_after_a_failed_savepoint(self) -> None:
        """An error of the database inside of an inner block does not break the outer one."""
        make("1")
        with as_user("1") as connection, transaction.atomic(using=connection.alias):
            schema.rows("Entry").create(text="first", code="same")
            with self.assertRaises(IntegrityError), transaction.atomic(using=connection.alias):
                schema.rows("Entry").create(text="second", code="same")
            schema.rows("Entry").create(text="third")

        self.assertEqual(read("1"), ["first", "third"])

    def test_uncommitted_rows_are_hidden(self) -> None:
        """Other threads and processes do not see what is not committed."""
        make("1")
        other = self.other_process()
        with as_user("1") as connection, transaction.atomic(using=connection.alias):
            schema.rows("Entry").create(text="not yet")
            self.assertEqual(in_thread(lambda: read("1")), [])
            self.assertEqual(other.call(read, "1"), [])
        self.assertEqual(other.call(read, "1"), ["not yet"])

    def test_callback_runs_after_the_commit(self) -> None:
        """``on_commit`` of a user's database runs when its rows can be seen, and not after a rollback."""
        make("1")
        seen: list[list[str]] = []
        with as_user("1") as connection:
            for text in ("kept", "dropped"):
                with transaction.atomic(using=connection.alias):
                    schema.rows("Entry").create(text=text)
                    transaction.on_commit(
                        lambda: seen.append(in_thread(lambda: read("1"))), using=connection.alias
                    )
                    transaction.set_rollback(text == "dropped", using=connection.alias)

        self.assertEqual(seen, [["kept"]])

    def test_default_and_user_commit_together(self) -> None:
        """A block without an alias commits in ``default`` and in the user's database."""
        make("1")
        self.addCleanup(self._shared_rows().delete)
        with as_user("1"), transaction.atomic():
            schema.rows("Entry").create(text="mine")
            self._shared_rows().create(user_key=schema.APP)

        self.assertEqual(in_thread(lambda: read("1")), ["mine"])
        self.assertTrue(self._shared_rows().exists())

    def test_default_and_user_roll_back_together(self) -> None:
        """A block without an alias that raises leaves nothing in ``default`` or the user's database."""
        make("1")
        with as_user("1"), self.assertRaises(ZeroDivisionError), transaction.atomic():
            schema.rows("Entry").create(text="mine")
            self._shared_rows().create(user_key=schema.APP)
            raise ZeroDivisionError

        self.assertEqual(read("1"), [])
        self.assertFalse(self._shared_rows().exists())

    def test_savepoint_of_default_covers_the_user(self) -> None:
        """An inner block without an alias is taken back in both databases."""
        make("1")
        with as_user("1"), transaction.atomic():
            with self.assertRaises(ZeroDivisionError), transaction.atomic():
                schema.rows("Entry").create(text="inner")
                raise ZeroDivisionError
            schema.rows("Entry").create(text="outer")

        self.assertEqual(read("1"), ["outer"])

    def _shared_rows(self) -> QuerySet[UserDatabase]:
        return UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(user_key=schema.APP)


class ProcessTests(EngineSuite):
    """Several processes write one user's database, and some of them are killed."""

    def test_committed_rows_outlive_their_writer(self) -> None:
        """What another process has committed is there after that process was killed."""
        make("1")
        other = self.other_process()
        other.call(write, "1", "committed")
        other.kill()

        self.assertEqual(read("1"), ["committed"])

    def test_transaction_of_a_killed_process_leaves_nothing(self) -> None:
        """A process that is killed in a transaction leaves a database that works, without its rows."""
        make("1")
        other = self.other_process()
        other.call(errands.begin, "1", text="half")
        other.kill()

        self.assertEqual(read("1"), [])
        write("1", "after")
        self.assertEqual(read("1"), ["after"])

    def test_two_writers_lose_nothing(self) -> None:
        """Two processes that write the same database at once lose no row and count right."""
        make("1")
        write("1", "counter")
        writers = {name: self.other_process() for name in ("a", "b")}
        for name, writer in writers.items():
            writer.start(errands.append, "1", name=name, times=TIMES)
        for writer in writers.values():
            writer.result()

        expected = [f"{name} {number}" for name in writers for number in range(TIMES)]
        self.assertEqual(sorted(read("1")), sorted(["counter", *expected]))
        with as_user("1"):
            self.assertTrue(schema.rows("Entry").filter(text="counter", amount=2 * TIMES).exists())

    def test_forked_child_has_connections_of_its_own(self) -> None:
        """A process that forks, and its child, both write, and no row is lost."""
        if not hasattr(os, "fork"):
            raise SkipTest("This system cannot fork.")
        make("1")

        self.assertEqual(self.other_process().call(errands.write_around_a_fork, "1"), 0)
        self.assertEqual(sorted(read("1")), ["before", "child", "parent"])
