"""What an engine promises about connections: judged at each use, given back, clean for the next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ClassVar
from unittest import SkipTest
from unittest.mock import patch

from django.db import DatabaseError, Error, IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.test import override_settings

from dsud.engines.hooks import Hooks
from dsud.exceptions import DSUDError, WrongUser
from dsud.testing.conformance import schema
from dsud.testing.conformance.acting import (
    LONG,
    as_user,
    connection_of,
    in_thread,
    make,
    part,
    read,
    write,
)
from dsud.testing.conformance.suite import EngineSuite

SELECT = f"SELECT text FROM {schema.APP}_entry ORDER BY id"  # noqa: S608, because all is ours.
INSERT = f"INSERT INTO {schema.APP}_entry (text, amount) VALUES (%s, 0)"  # noqa: S608


class Refused(Exception):
    """What the hooks of these tests raise."""


class HookTests(EngineSuite):
    """Whoever guards users from each other is asked before every use of a cursor."""

    #: What can be done with a cursor that has run a query.
    cursor_uses: ClassVar[Mapping[str, Callable[[CursorWrapper], object]]] = {
        "execute": lambda cursor: cursor.execute(SELECT),
        "execute with parameters": lambda cursor: cursor.execute(INSERT, ["more"]),
        "executemany": lambda cursor: cursor.executemany(INSERT, [["more"]]),
        "fetchone": lambda cursor: cursor.fetchone(),
        "fetchmany": lambda cursor: cursor.fetchmany(),
        "fetchmany of many": lambda cursor: cursor.fetchmany(2),
        "fetchall": lambda cursor: cursor.fetchall(),
        "iteration": list,
        "next": lambda cursor: next(iter(cursor)),
    }

    @contextmanager
    def refusing(self, hook: str) -> Iterator[list[object]]:
        """Have a hook refuse, and collect what it is called with."""
        asked: list[object] = []

        def refuse(subject: object) -> None:
            asked.append(subject)
            raise Refused

        with patch.object(Hooks, hook, staticmethod(refuse)):
            yield asked

    def test_cursor_is_asked_for(self) -> None:
        """``before_cursor`` is called with the connection, and what it raises prevents the cursor."""
        make("1")
        with as_user("1") as connection:
            for make_cursor in (connection.cursor, connection.chunked_cursor):
                with self.refusing("before_cursor") as asked, self.assertRaises(Refused):
                    make_cursor()
                self.assertEqual(asked, [connection])

    def test_cursor_use_is_asked_for(self) -> None:
        """``before_cursor_use`` is called with the user's key, whatever is done with a cursor."""
        make("1")
        write("1", "first", "second", "third")
        for name, use in self.cursor_uses.items():
            with self.subTest(use=name), as_user("1") as connection, connection.cursor() as cursor:
                cursor.execute(SELECT)
                with self.refusing("before_cursor_use") as asked, self.assertRaises(Refused):
                    use(cursor)
                self.assertEqual(asked, ["1"])
        self.assertEqual(read("1"), ["first", "second", "third"])

    def test_each_row_is_asked_for(self) -> None:
        """A cursor that was iterated half-way gives no further row once it is refused."""
        make("1")
        write("1", "first", "second", "third")
        with as_user("1") as connection, connection.cursor() as cursor:
            cursor.execute(SELECT)
            rows = iter(cursor)
            self.assertEqual(next(rows), ("first",))
            with self.refusing("before_cursor_use"), self.assertRaises(Refused):
                next(rows)

    def test_queries_of_the_orm_are_asked_for(self) -> None:
        """Reading and writing through models goes the same way."""
        make("1")
        with self.refusing("before_cursor_use"):
            with self.assertRaises(Refused):
                read("1")
            with self.assertRaises(Refused):
                write("1", "mine")
        self.assertEqual(read("1"), [])

    def test_connection_of_another_user_is_refused(self) -> None:
        """With the guards of the site in place, one user's connection is of no use to another."""
        make("1", "2")
        write("1", "secret", "more")
        with as_user("1") as theirs:
            cursor = theirs.cursor()
            cursor.execute(SELECT)
            with as_user("2"):
                for use in (theirs.cursor, cursor.fetchone, cursor.fetchall):
                    with self.assertRaises(WrongUser):
                        use()
            cursor.close()


class LeaseTests(EngineSuite):
    """Connections are few, given back at once, and carry nothing from one block to the next."""

    #: By vendor, a statement that changes a connection and a query that shows what it changed.
    session_settings: ClassVar[Mapping[str, tuple[str, str]]] = {
        "sqlite": ("PRAGMA query_only = ON", "PRAGMA query_only"),
        "postgresql": ("SET statement_timeout = 12345", "SHOW statement_timeout"),
    }

    def test_connection_is_given_back(self) -> None:
        """After the outermost block Django's connection has no raw connection any more."""
        make("1")
        with as_user("1") as connection:
            self.assertEqual(read("1"), [])
        self.assertIsNone(connection.connection)
        self.assertEqual(read("1"), [])

    def test_connection_is_kept_by_a_transaction(self) -> None:
        """Inside a transaction the connection stays, also over the end of a user's block."""
        make("1")
        connection = connection_of("1")
        with transaction.atomic(using=connection.alias):
            write("1", "first")
            self.assertIsNotNone(connection.connection)
            self.assertEqual(read("1"), ["first"])
        self.assertEqual(in_thread(lambda: read("1")), ["first"])

    def test_connections_are_never_more_than_the_cap(self) -> None:
        """With ``DSUD_MAX_OPEN`` at 2, four threads are served two at a time."""
        keys = ["1", "2", "3", "4"]
        make(*keys)
        part()
        lock, now, most = threading.Lock(), 0, 0

        def work(user_key: str) -> None:
            nonlocal now, most
            with as_user(user_key) as connection, transaction.atomic(using=connection.alias):
                schema.rows("Entry").create(text=user_key)
                with lock:
                    now += 1
                    most = max(most, now)
                time.sleep(0.05)
                with lock:
                    now -= 1

        def work_often(user_key: str) -> None:
            for _ in range(3):
                work(user_key)
            part()

        with override_settings(DSUD_MAX_OPEN=2), ThreadPoolExecutor(len(keys)) as executor:
            list(executor.map(work_often, keys, timeout=LONG))
        self.assertLessEqual(most, 2)
        for key in keys:
            self.assertEqual(read(key), [key] * 3)

    def test_connection_of_an_ended_thread_is_given_back(self) -> None:
        """A thread that ends in the middle of a transaction leaves room, and nothing written."""
        make("1", "2")
        part()

        def leave_open() -> None:
            connection = connection_of("1")
            connection.set_autocommit(False)
            with connection.cursor() as cursor:
                cursor.execute(INSERT, ["half"])

        with override_settings(DSUD_MAX_OPEN=1):
            thread = threading.Thread(target=leave_open)
            thread.start()
            thread.join(LONG)
            self.assertEqual(read("2"), [])
            self.assertEqual(read("1"), [])

    def test_threads_see_their_own_users_rows(self) -> None:
        """Threads that change users all the time, with few connections, never meet others' rows."""
        keys = [str(number) for number in range(6)]
        make(*keys)
        part()

        def serve(first: int) -> None:
            for turn in range(len(keys) * 3):
                key = keys[(first + turn) % len(keys)]
                write(key, key)
                self.assertEqual(set(read(key)), {key})
            part()

        with override_settings(DSUD_MAX_OPEN=3), ThreadPoolExecutor(3) as executor:
            list(executor.map(serve, range(3), timeout=LONG))
        self.assertEqual({key: len(read(key)) for key in keys}, dict.fromkeys(keys, 9))

    def test_open_transaction_does_not_leak(self) -> None:
        """What was not committed when a block ended is rolled back, and the next one commits."""
        make("1")
        with as_user("1") as connection:
            connection.set_autocommit(False)
            schema.rows("Entry").create(text="not committed")
        write("1", "committed")

        self.assertEqual(in_thread(lambda: read("1")), ["committed"])
        with as_user("1") as connection:
            self.assertTrue(connection.get_autocommit())

    def test_half_read_cursor_does_not_leak(self) -> None:
        """A cursor that outlives its block gives no rows, and does not stop others from writing."""
        make("1")
        write("1", *"abcdefgh")
        with as_user("1") as connection:
            cursor = connection.cursor()
            cursor.execute(SELECT)
            self.assertEqual(cursor.fetchone(), ("a",))
        with as_user("1"), self.assertRaises((Error, DSUDError)):
            cursor.fetchone()

        in_thread(lambda: write("1", "i"))
        self.assertEqual(len(read("1")), 9)

    def test_temporary_table_does_not_leak(self) -> None:
        """A temporary table is gone with the block that made it."""
        make("1")
        with as_user("1") as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE conformance_leak (x integer)")
        with (
            as_user("1") as connection,
            connection.cursor() as cursor,
            self.assertRaises(DatabaseError),
        ):
            cursor.execute("SELECT x FROM conformance_leak")

    def test_constraints_that_were_off_are_on_again(self) -> None:
        """A block that turns foreign keys off does so for itself only."""
        make("1")
        with as_user("1") as connection, connection.cursor():
            connection.disable_constraint_checking()
        with as_user("1"), self.assertRaises(IntegrityError):
            schema.rows("Remark").create(entry_id=12345)

    def test_changed_setting_does_not_leak(self) -> None:
        """What a statement has changed about a connection is as before in the next block."""
        make("1")
        with as_user("1") as connection, connection.cursor() as cursor:
            change, query = self.session_setting(connection)
            cursor.execute(query)
            before = cursor.fetchone()
            cursor.execute(change)
            cursor.execute(query)
            self.assertNotEqual(cursor.fetchone(), before)
        with as_user("1") as connection, connection.cursor() as cursor:
            cursor.execute(query)
            self.assertEqual(cursor.fetchone(), before)

    def session_setting(self, connection: BaseDatabaseWrapper) -> tuple[str, str]:
        """Return what changes a connection of this kind, and what shows it."""
        try:
            return self.session_settings[connection.vendor]
        except KeyError:
            raise SkipTest(f"session_settings has no {connection.vendor!r}.") from None
