"""What an engine promises about the birth of a database: its maker's alone until it is published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from dsud.engines import engine
from dsud.engines.staged import Rows
from dsud.exceptions import (
    DSUDError,
    UserDatabaseAlreadyExists,
    UserDatabaseDoesNotExist,
)
from dsud.testing.conformance import errands, schema
from dsud.testing.conformance.acting import (
    connection_of,
    in_thread,
    make,
    prepare,
    read,
    write,
)
from dsud.testing.conformance.suite import EngineSuite

SELECT = f"SELECT text FROM {schema.APP}_entry ORDER BY id"  # noqa: S608, because all is ours.


class StagingTests(EngineSuite):
    """A database is its maker's alone until it is published, whole and at once."""

    def test_published_database_is_there(self) -> None:
        """After publishing, the database exists, is listed and can be used by everybody."""
        make("1")
        write("1", "mine")

        self.assertTrue(engine().exists("1"))
        self.assertEqual(list(engine().keys()), ["1"])
        self.assertIsNone(engine().staged_here("1"))
        self.assertEqual(in_thread(lambda: read("1")), ["mine"])
        self.assertEqual(self.other_process().call(errands.look, "1"), (True, ["1"], ["mine"]))

    def test_staged_database_is_its_makers(self) -> None:
        """The thread that staged a database uses it as the user's."""
        staged = self.stage("1")
        write("1", "mine")

        self.assertIs(engine().staged_here("1"), staged)
        self.assertEqual(read("1"), ["mine"])

    def test_staged_database_is_not_there(self) -> None:
        """A staged database does not exist yet and is not listed, its maker's thread included."""
        self.stage("1")
        write("1", "mine")

        self.assertFalse(engine().exists("1"))
        self.assertEqual(list(engine().keys()), [])

    def test_staged_database_is_hidden_from_other_threads(self) -> None:
        """Another thread finds nothing where a database is staged."""
        self.stage("1")
        write("1", "mine")

        self.assertIsNone(in_thread(lambda: engine().staged_here("1")))
        self.assertFalse(in_thread(lambda: engine().exists("1")))
        with self.assertRaises(UserDatabaseDoesNotExist):
            in_thread(lambda: read("1"))

    def test_staged_database_is_hidden_from_other_processes(self) -> None:
        """Another process finds nothing where a database is staged."""
        self.stage("1")
        write("1", "mine")

        found = self.other_process().call(errands.look, "1")
        self.assertEqual(found, (False, [], "UserDatabaseDoesNotExist"))

    def test_staged_database_begins_with_rows(self) -> None:
        """Rows that are handed over with the key are in the database, for its maker and published."""
        fingerprint = prepare()
        table = schema.rows("Entry").model._meta.db_table
        first = Rows(table, ["id", "text", "amount"], [(7, "first", 1), (8, "second", 2)])
        for user_key, stage in (("1", engine().stage), ("2", engine().stage_for_test)):
            with engine().lock(user_key):
                staged = stage(user_key, fingerprint, rows=[first])
                self.addCleanup(staged.discard)
                self.assertEqual(read(user_key), ["first", "second"])
                if user_key == "1":
                    staged.publish()
                    connection_of("1").close()
        self.assertEqual(in_thread(lambda: read("1")), ["first", "second"])

    def test_publishing_keeps_what_the_maker_wrote(self) -> None:
        """Rows that were written into a staged database are there once it is published."""
        staged = self.stage("1")
        write("1", "before")
        staged.publish()
        connection_of("1").close()
        write("1", "after")

        self.assertEqual(in_thread(lambda: read("1")), ["before", "after"])
        self.assertEqual(list(engine().keys()), ["1"])

    def test_publishing_overwrites_nothing(self) -> None:
        """Publishing where a database is raises ``UserDatabaseAlreadyExists`` and changes nothing."""
        make("1")
        write("1", "first")
        staged = self.stage("1")

        with self.assertRaises(UserDatabaseAlreadyExists) as raised:
            staged.publish()

        staged.discard()
        connection_of("1").close()
        self.assertEqual(raised.exception.user_key, "1")
        self.assertEqual(read("1"), ["first"])
        self.assertEqual(self.other_process().call(errands.look, "1"), (True, ["1"], ["first"]))

    def test_discarding_leaves_nothing(self) -> None:
        """What was staged is gone after ``discard``, for its maker, too."""
        staged = self.stage("1")
        write("1", "mine")
        connection_of("1").close()
        staged.discard()

        self.assertIsNone(engine().staged_here("1"))
        self.assertFalse(engine().exists("1"))
        with self.assertRaises(UserDatabaseDoesNotExist):
            read("1")

    def test_discarding_twice_does_nothing(self) -> None:
        """A second ``discard`` takes away neither what is staged next nor what is published."""
        staged = self.stage("1")
        staged.discard()
        staged.discard()
        again = engine().stage("1", schema.FIRST)
        staged.discard()

        self.assertIs(engine().staged_here("1"), again)
        again.publish()
        self.assertEqual(read("1"), [])

    def test_discarding_after_publishing_does_nothing(self) -> None:
        """A database that is published stays when its maker discards what was staged."""
        staged = self.stage("1")
        staged.publish()
        connection_of("1").close()
        write("1", "mine")
        staged.discard()

        self.assertEqual(read("1"), ["mine"])
        self.assertTrue(engine().exists("1"))

    def test_maker_that_is_killed_leaves_nothing(self) -> None:
        """A process that is killed while it makes a database leaves none, and it can be made anew."""
        other = self.other_process()
        other.call(errands.stage, "1", "half-built")
        other.kill()

        self.assertFalse(engine().exists("1"))
        self.assertEqual(list(engine().keys()), [])
        make("1")
        self.assertEqual(read("1"), [])

    def test_database_staged_for_a_test_is_its_makers(self) -> None:
        """``stage_for_test`` gives a database that works, and that no other thread can see.

        It has to last for as long as the connection that opened it is kept in a transaction.
        """
        prepare()
        staged = engine().stage_for_test("1", schema.FIRST)
        self.addCleanup(staged.discard)
        self.assertIs(engine().staged_here("1"), staged)
        self.enterContext(transaction.atomic(using=connection_of("1").alias))
        write("1", "mine")

        self.assertEqual(read("1"), ["mine"])
        self.assertFalse(engine().exists("1"))
        with self.assertRaises(UserDatabaseDoesNotExist):
            in_thread(lambda: read("1"))

    def test_database_staged_for_a_test_leaves_no_trace(self) -> None:
        """What ``stage_for_test`` gave is gone when it is discarded, and the next one is empty."""
        prepare()
        for _ in range(2):
            staged = engine().stage_for_test("1", schema.FIRST)
            self.assertEqual(read("1"), [])
            write("1", "mine")
            connection_of("1").close()
            staged.discard()

            self.assertIsNone(engine().staged_here("1"))
            self.assertEqual(list(engine().keys()), [])
            with self.assertRaises(UserDatabaseDoesNotExist):
                read("1")

    def test_database_staged_for_a_test_hides_the_one_in_place(self) -> None:
        """A user of a test may have the key of one who has a database, which is as before after it."""
        make("1")
        write("1", "of an earlier user")
        staged = engine().stage_for_test("1", schema.FIRST)
        with self.rolled_back("1") as connection:
            self.assertEqual(read("1"), [])
            write("1", "mine")
        connection.close()
        staged.discard()

        self.assertEqual(read("1"), ["of an earlier user"])

    def test_databases_staged_for_a_test_are_apart(self) -> None:
        """Each of the users of one test has a database of their own."""
        prepare()
        for user_key in ("1", "2"):
            self.addCleanup(engine().stage_for_test(user_key, schema.FIRST).discard)
            self.enterContext(transaction.atomic(using=connection_of(user_key).alias))
            write(user_key, f"of {user_key}")

        self.assertEqual([read("1"), read("2")], [["of 1"], ["of 2"]])

    def test_database_staged_for_a_test_passes_nothing_on(self) -> None:
        """A connection that goes from one test to the next takes neither tables nor cursors along."""
        prepare()
        held: list[CursorWrapper] = []
        for user_key in ("1", "2", "1"):
            staged = engine().stage_for_test(user_key, schema.FIRST)
            with connection_of(user_key).cursor() as cursor:
                cursor.execute("CREATE TEMPORARY TABLE conformance_leak (x integer)")
            with self.rolled_back(user_key) as connection:
                self.assertEqual(read(user_key), [])
                write(user_key, *"abcdefgh")
                for cursor in held:
                    with self.assertRaises((Error, DSUDError)):
                        cursor.fetchone()
                held.append(connection.cursor())
                held[-1].execute(SELECT)
                self.assertEqual(held[-1].fetchone(), ("a",))
            connection.close()
            staged.discard()

    @contextmanager
    def rolled_back(self, user_key: str) -> Iterator[BaseDatabaseWrapper]:
        """Roll back what is done to a user's database, as a ``TestCase`` does."""
        connection = connection_of(user_key)
        with transaction.atomic(using=connection.alias):
            yield connection
            transaction.set_rollback(True, using=connection.alias)
