"""What an engine promises about the places of databases: listed, measured, missed, emptied by deletion."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import NoneType
from unittest.mock import patch

from django.db import Error, transaction

from dsud.engines import engine
from dsud.engines.hooks import Hooks
from dsud.exceptions import (
    DSUDError,
    UserDatabaseDoesNotExist,
    UserDatabaseUnavailable,
)
from dsud.testing.conformance import errands, schema
from dsud.testing.conformance.acting import (
    LONG,
    as_user,
    connection_of,
    delete,
    in_thread,
    make,
    prepare,
    read,
    write,
)
from dsud.testing.conformance.suite import EngineSuite


class PlaceTests(EngineSuite):
    """Each user has a place: found when something is in it, an error when nothing is."""

    def test_all_keys_are_listed(self) -> None:
        """Every one of many users who have a database is listed once."""
        keys = [str(number) for number in range(self.fleet_size)]
        make(*keys)

        self.assertEqual(sorted(engine().keys()), sorted(keys))

    def test_size_counts_what_is_written(self) -> None:
        """``size`` is the bytes that a database takes, and grows with what is written."""
        make("1", "2")
        empty = engine().size("1")
        write("1", *["x" * 100_000] * 10)

        self.assertGreater(empty, 0)
        self.assertGreaterEqual(engine().size("1"), empty + 900_000)
        self.assertLess(engine().size("2"), empty + 900_000)

    def test_size_of_nothing_is_an_error(self) -> None:
        """``size`` raises ``UserDatabaseDoesNotExist`` where there is no database."""
        with self.assertRaises(UserDatabaseDoesNotExist):
            engine().size("1")

    def test_missing_database_is_an_error(self) -> None:
        """Reaching for a database that does not exist raises, and makes no empty one."""
        with patch.object(Hooks, "when_missing", None):
            with self.assertRaises(UserDatabaseDoesNotExist):
                read("1")
            with self.assertRaises(UserDatabaseDoesNotExist):
                write("1", "lost")

        self.assertFalse(engine().exists("1"))
        self.assertEqual(list(engine().keys()), [])

    def test_missing_database_is_asked_for(self) -> None:
        """``when_missing`` is called with the user's key, and what it makes is opened."""
        asked: list[str] = []

        def provide(user_key: str) -> None:
            asked.append(user_key)
            with engine().lock(user_key):
                engine().stage(user_key, schema.FIRST).publish()

        prepare()
        with patch.object(Hooks, "when_missing", staticmethod(provide)):
            write("1", "mine")

        self.assertEqual(asked, ["1"])
        self.assertEqual(read("1"), ["mine"])

    def test_what_missing_raises_arrives(self) -> None:
        """An error of ``when_missing`` reaches the query as it is, and nothing is made."""

        def refuse(user_key: str) -> None:
            raise UserDatabaseUnavailable(user_key, "Its disk is away.")

        with (
            patch.object(Hooks, "when_missing", staticmethod(refuse)),
            self.assertRaisesMessage(UserDatabaseUnavailable, "Its disk is away."),
        ):
            read("1")
        self.assertFalse(engine().exists("1"))

    def test_when_missing_that_makes_nothing_is_an_error(self) -> None:
        """When ``when_missing`` makes nothing, the database is missing still."""
        with (
            patch.object(Hooks, "when_missing", staticmethod(lambda user_key: None)),
            self.assertRaises(UserDatabaseDoesNotExist),
        ):
            read("1")

    def test_database_of_another_user_is_refused(self) -> None:
        """A database that says that it is another user's is not opened."""
        make("1", "2")
        write("1", "secret")
        connection_of("1").close()
        self.put_in_place("1", of="2")

        with self.assertRaises(UserDatabaseUnavailable) as raised:
            in_thread(lambda: read("2"))
        self.assertEqual(raised.exception.user_key, "2")


class DeletionTests(EngineSuite):
    """Deleting takes a database out of everybody's reach; its place is never used again."""

    def test_deleted_database_is_not_there(self) -> None:
        """A deleted database does not exist, is not listed, and its own thread cannot reach it."""
        make("1", "2")
        write("1", "mine")
        delete("1")

        self.assertFalse(engine().exists("1"))
        self.assertEqual(list(engine().keys()), ["2"])
        with self.assertRaises(UserDatabaseDoesNotExist):
            read("1")
        with self.assertRaises(UserDatabaseDoesNotExist):
            engine().size("1")

    def test_deleting_leaves_others_alone(self) -> None:
        """The databases of other users stay as they are."""
        make("1", "2")
        write("2", "mine")
        delete("1")

        self.assertEqual(read("2"), ["mine"])

    def test_deleting_nothing_is_an_error(self) -> None:
        """``delete`` raises ``UserDatabaseDoesNotExist`` where there is no database."""
        with self.assertRaises(UserDatabaseDoesNotExist), engine().lock("1"):
            engine().delete("1")
        make("1")
        delete("1")
        with self.assertRaises(UserDatabaseDoesNotExist), engine().lock("1"):
            engine().delete("1")

    def test_deleted_database_is_gone_for_who_had_it_open(self) -> None:
        """A process that had the database open gets an error at its next use, never an empty one."""
        make("1")
        write("1", "mine")
        other = self.other_process()
        self.assertEqual(other.call(errands.look, "1"), (True, ["1"], ["mine"]))
        delete("1")

        self.assertEqual(other.call(errands.look, "1"), (False, [], "UserDatabaseDoesNotExist"))

    def test_database_after_deletion_is_empty(self) -> None:
        """A database that is made after a deletion has none of the rows from before."""
        for number in range(3):
            make("1")
            self.assertEqual(read("1"), [])
            write("1", f"round {number}")
            delete("1")

    def test_place_is_not_used_again(self) -> None:
        """A process that had the deleted database open meets the new one, and only that."""
        make("1")
        write("1", "old")
        other = self.other_process()
        self.assertEqual(other.call(errands.look, "1"), (True, ["1"], ["old"]))
        delete("1")
        make("1")
        write("1", "new")

        self.assertEqual(other.call(errands.look, "1"), (True, ["1"], ["new"]))
        other.call(write, "1", "newer")
        self.assertEqual(read("1"), ["new", "newer"])

    def test_transaction_on_a_deleted_database_writes_nowhere_else(self) -> None:
        """What was begun before a deletion never lands in the database that is made after it."""
        make("1")
        begun, deleted = threading.Event(), threading.Event()

        def write_late() -> None:
            with as_user("1") as connection, transaction.atomic(using=connection.alias):
                schema.rows("Entry").create(text="late")
                begun.set()
                deleted.wait(LONG)
                schema.rows("Entry").create(text="later")

        with ThreadPoolExecutor(1) as executor:
            late = executor.submit(in_thread, write_late)
            self.assertTrue(begun.wait(LONG))
            delete("1")
            make("1")
            write("1", "new")
            deleted.set()
            # It may end with an error or without one: the database is gone in any case.
            self.assertIsInstance(late.exception(LONG), (NoneType, DSUDError, Error))

        self.assertEqual(read("1"), ["new"])
        self.assertEqual(self.other_process().call(errands.look, "1"), (True, ["1"], ["new"]))
