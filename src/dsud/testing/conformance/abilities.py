"""What an engine promises of what it may do besides: it can, or says that it cannot."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, closing
from datetime import timedelta
from unittest import SkipTest

from django.db import Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from dsud.engines import engine
from dsud.engines.abilities import ReadingCursor
from dsud.engines.replaying import Replayer
from dsud.exceptions import (
    NotSupportedByEngine,
    UserDatabaseDoesNotExist,
    UserDatabaseUnavailable,
)
from dsud.pool import pool
from dsud.testing.conformance import errands, schema
from dsud.testing.conformance.acting import as_user, delete, in_thread, make, part, read, write
from dsud.testing.conformance.suite import EngineSuite

ENTRIES = f"SELECT text FROM {schema.APP}_entry WHERE text <> %s"  # noqa: S608, because all is ours.
INSERT = f"INSERT INTO {schema.APP}_entry (text, amount) VALUES (%s, 0)"  # noqa: S608, as above.


def refusing(connection: BaseDatabaseWrapper) -> AbstractContextManager[None]:
    """Return a block in which the database refuses changes; skip the test if there is none."""
    try:
        return engine().read_only(connection)
    except NotSupportedByEngine as error:
        raise SkipTest(str(error)) from error


class ReadOnlyTests(EngineSuite):
    """The database itself refuses every change for a block, if the engine can have it do so."""

    def test_read_only_refuses_changes(self) -> None:
        """Inside the block rows can be read and not be changed, and afterwards both."""
        make("1")
        write("1", "before")
        with as_user("1") as connection:
            with refusing(connection):
                with self.assertRaises(Error):
                    schema.rows("Entry").create(text="inside")
                self.assertEqual(read("1"), ["before"])
            write("1", "after")

        self.assertEqual(in_thread(lambda: read("1")), ["before", "after"])

    def test_read_only_lasts_as_long_as_the_outer_block(self) -> None:
        """A block inside another one ends without freeing the outer one."""
        make("1")
        with as_user("1") as connection, refusing(connection):
            with engine().read_only(connection):
                pass
            with self.assertRaises(Error):
                schema.rows("Entry").create(text="inside")

    def test_read_only_transaction_keeps_no_writer_out(self) -> None:
        """A transaction that begins inside only reads, so that others write meanwhile."""
        make("1")
        with (
            as_user("1") as connection,
            refusing(connection),
            transaction.atomic(using=connection.alias),
        ):
            self.assertEqual(read("1"), [])
            in_thread(lambda: write("1", "meanwhile"))
        self.assertEqual(in_thread(lambda: read("1")), ["meanwhile"])


def looking(user_key: str) -> AbstractContextManager[ReadingCursor]:
    """Return the quick way to read; skip the test if there is none."""
    part()  # So that no connection is open yet.
    if (found := engine().reading(user_key)) is None:
        raise SkipTest("The engine has no quick way to read: reading() returns None.")
    return found


class ReadingTests(EngineSuite):
    """There may be a quick way to read, and it gives nobody more than Django's connection does."""

    def test_reading_gives_what_is_there(self) -> None:
        """A statement as Django writes it is answered, and nothing stays open afterwards."""
        make("1")
        write("1", "mine", "too")
        part()
        open_before = pool.slots
        with looking("1") as cursor:
            cursor.execute(ENTRIES, ("mine",))
            self.assertEqual(tuple(cursor.fetchone()), ("too",))
        self.assertEqual(pool.slots, open_before)

    def test_reading_changes_nothing(self) -> None:
        """A statement that would write is refused by the database."""
        make("1")
        write("1", "mine")
        with self.assertRaises(Exception), looking("1") as cursor:  # noqa: B017, because drivers have their own
            cursor.execute(INSERT, ("inside",))
        self.assertEqual(read("1"), ["mine"])

    def test_reading_another_users_database_is_refused(self) -> None:
        """A database that is in another user's place is not read."""
        make("1", "2")
        write("1", "mine")
        looking("1")
        self.put_in_place("1", of="2")
        with self.assertRaises(UserDatabaseUnavailable), looking("2") as cursor:
            cursor.execute(ENTRIES, ("",))

    def test_reading_nothing_makes_nothing(self) -> None:
        """Where there is no database there is nothing to read, and none is made."""
        if (found := engine().reading("3")) is not None:
            with self.assertRaises(Exception), found:  # noqa: B017, as above
                pass
        self.assertFalse(engine().exists("3"))


class LastWrittenTests(EngineSuite):
    """An engine may tell when a database was changed last."""

    def test_last_written_is_when_it_was_written(self) -> None:
        """The moment moves with the user's own writes."""
        make("1")
        begun = timezone.now()
        write("1", "mine")
        part()
        if (found := engine().last_written("1")) is None:
            raise SkipTest("The engine cannot tell when a database was written.")
        self.assertLess(abs(found - begun), timedelta(minutes=1))

    def test_last_written_of_nobody(self) -> None:
        """Where there is no database, nothing was written."""
        self.assertIsNone(engine().last_written("1"))


def skip_without_snapshots() -> None:
    """Skip the test if the engine does not say that it takes snapshots."""
    if not engine().supports_snapshots:
        raise SkipTest("The engine takes no snapshots: supports_snapshots is not True.")


def take(user_key: str, name: str) -> None:
    """Take a snapshot as a migration does."""
    with engine().lock(user_key):
        engine().take_snapshot(user_key, name)


def restore(user_key: str, name: str) -> None:
    """Restore a snapshot as a migration does."""
    with engine().lock(user_key):
        engine().restore_snapshot(user_key, name)


class SnapshotTests(EngineSuite):
    """A database can be kept as it is and brought back to that, if the engine says so."""

    def test_snapshots_are_refused_or_taken(self) -> None:
        """An engine that says that it takes snapshots does, and another one says that it cannot."""
        make("1")
        if engine().supports_snapshots:
            take("1", "1")
            self.assertEqual(list(engine().snapshots("1")), ["1"])
            return
        self.assertEqual(list(engine().snapshots("1")), [])
        for what in (take, restore):
            with self.assertRaises(NotSupportedByEngine):
                what("1", "1")

    def test_snapshot_is_restored(self) -> None:
        """Everybody meets the database as it was, those who had it open included."""
        skip_without_snapshots()
        make("1")
        write("1", "before")
        other = self.other_process()
        self.assertEqual(other.call(errands.look, "1"), (True, ["1"], ["before"]))
        take("1", "1")
        write("1", "after")
        restore("1", "1")

        self.assertEqual(read("1"), ["before"])
        self.assertEqual(in_thread(lambda: read("1")), ["before"])
        self.assertEqual(other.call(errands.look, "1"), (True, ["1"], ["before"]))

    def test_newest_snapshots_are_kept(self) -> None:
        """Of many snapshots a few are kept, the newest ones, and listed by age."""
        skip_without_snapshots()
        make("1")
        names = [f"{number:02}" for number in range(12)]
        for name in names:
            take("1", name)

        kept = list(engine().snapshots("1"))
        self.assertEqual(kept, names[-len(kept) :])
        self.assertLess(len(kept), len(names))

    def test_snapshots_are_the_users(self) -> None:
        """Each user has their own, and they go with the database."""
        skip_without_snapshots()
        make("1", "2")
        take("1", "1")
        self.assertEqual(list(engine().snapshots("2")), [])
        delete("1")
        make("1")

        self.assertEqual(list(engine().snapshots("1")), [])

    def test_unknown_snapshot_is_an_error(self) -> None:
        """A snapshot that was never taken is not restored, and the database stays as it is."""
        skip_without_snapshots()
        make("1")
        write("1", "mine")
        with self.assertRaises(UserDatabaseUnavailable):
            restore("1", "never")
        self.assertEqual(read("1"), ["mine"])


class CopyTests(EngineSuite):
    """A rehearsal works on a copy that nobody else meets, if the engine can make one."""

    def test_copy_is_apart(self) -> None:
        """The copy has the rows, what is written to it stays in it, and it is its maker's."""
        make("1")
        write("1", "mine")
        with engine().lock("1"):
            part()
            try:
                staged = engine().stage_copy("1")
            except NotSupportedByEngine as error:
                raise SkipTest(str(error)) from error
            self.assertEqual(read("1"), ["mine"])
            write("1", "rehearsed")
            self.assertEqual(in_thread(lambda: read("1")), ["mine"])
            part()
            staged.discard()
        self.assertEqual(read("1"), ["mine"])


class StampTests(EngineSuite):
    """A glance tells whether a replay has stamped a database, or tells nothing."""

    def test_stamp_is_seen_by_a_glance(self) -> None:
        """What a replayer stamps is seen, and nothing else is taken for it."""
        make("1", "2")
        other = "9" * 32
        self.assertFalse(engine().has_stamp("1", other))
        if (replayer := engine().replayer()) is None:
            raise SkipTest("The engine replays no migrations: replayer() returns None.")
        self.stamp("1", other, replayer)

        self.assertTrue(engine().has_stamp("1", other))
        self.assertFalse(engine().has_stamp("1", "8" * 32))
        self.assertFalse(engine().has_stamp("2", other))

    def stamp(self, user_key: str, fingerprint: str, replayer: Replayer) -> None:
        """Stamp a database as a replay does."""
        with as_user(user_key) as connection, replayer.transaction(connection):
            replayer.stamp(connection, fingerprint)
            self.assertTrue(replayer.has_stamp(connection, fingerprint))


class AttachTests(EngineSuite):
    """Databases that are SQLite files can be attached, and SQLite files be taken over."""

    def test_attaching_is_refused_or_works(self) -> None:
        """An engine that ``attaches`` gives a URI of the user's database, of nobody's an error."""
        make("1")
        write("1", "mine")
        part()
        if not engine().attaches:
            with self.assertRaises(NotSupportedByEngine):
                engine().attachable("1")
            return
        with closing(sqlite3.connect("file::memory:", uri=True)) as raw:
            raw.execute("ATTACH ? AS users", [engine().attachable("1")])
            found = raw.execute(f"SELECT text FROM users.{schema.APP}_entry").fetchall()  # noqa: S608, as above
        self.assertEqual(found, [("mine",)])
        with self.assertRaises(UserDatabaseDoesNotExist):
            engine().attachable("2")

    def test_file_is_taken_over_as_it_was_prepared(self) -> None:
        """The rows of a SQLite file become the user's, once they are prepared and published."""
        with closing(self.a_file()) as source, engine().lock("1"):
            try:
                staged = engine().stage_from("1", source, prepare=remove_second)
            except NotSupportedByEngine as error:
                raise SkipTest(str(error)) from error
            self.addCleanup(staged.discard)
            self.assertFalse(engine().exists("1"))
            staged.publish()
        part()
        self.assertEqual(in_thread(lambda: read("1")), ["first"])

    def a_file(self) -> sqlite3.Connection:
        """Return a connection to a database with two entries."""
        source = sqlite3.connect(":memory:")
        source.execute(
            f"CREATE TABLE {schema.APP}_entry (id INTEGER PRIMARY KEY, text TEXT, code TEXT, amount INTEGER)"
        )
        source.executemany(
            f"INSERT INTO {schema.APP}_entry (text, amount) VALUES (?, 0)",  # noqa: S608, as above
            [("first",), ("second",)],
        )
        source.commit()
        return source


def remove_second(copy: sqlite3.Connection) -> None:
    """Prepare a copy before anybody may use it."""
    copy.execute(f"DELETE FROM {schema.APP}_entry WHERE text = 'second'")  # noqa: S608, as above
