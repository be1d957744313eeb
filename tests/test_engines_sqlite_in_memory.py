"""A test user's database is no file; its raw connection goes to the next user with nothing left on it."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.utils import OperationalError
from django.test import TestCase, override_settings

from dsud import provisioning, transactions, use_user
from dsud.connections import alias_of
from dsud.engines import engine
from dsud.engines.sqlite import in_memory
from dsud.engines.sqlite.base import DatabaseWrapper
from dsud.engines.sqlite.in_memory import KEPT, Connection, spares
from dsud.leases import AnyLease, Force
from dsud.pool import pool
from tests.cases import prepared, run, run_test
from tests.leasing import connection_of, in_thread, texts, write
from tests.notes.models import Note

__all__ = ["prepared"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("prepared", "none")]

Leave = Callable[[Connection], object]


@pytest.fixture
def none() -> Iterator[None]:
    """Begin and end without connections that are kept."""
    spares.close()
    yield
    spares.close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that has one more entry for each raw connection that is opened in memory."""
    found: list[object] = []
    restrict = in_memory.restrict

    def counting(raw: sqlite3.Connection) -> object:
        found.append(None)
        return restrict(raw)

    monkeypatch.setattr(in_memory, "restrict", counting)
    return found


def create(name: str = "alice") -> User:
    return get_user_model().objects.create_user(name)


def use() -> None:
    """Be a test with a user of its own, who finds nothing and leaves a note."""
    user = create()
    assert texts(user) == []
    write(user, "hers")
    with use_user(user):
        assert Note.objects.get().pk == 1  # Counting begins anew, too.
    assert texts(user) == ["hers"]


def leave(what: Callable[[BaseDatabaseWrapper], object]) -> None:
    """Run a test whose user has a note, and does something to the connection."""

    def test() -> None:
        user = create()
        write(user, "hers")
        with use_user(user):
            what(connection_of(user))

    run_test(test)


# Left to the next one


def test_user_of_the_next_test__has_the_raw_connection_and_no_row(opened: list[object]) -> None:
    for _ in range(4):
        run_test(use)
    assert len(opened) == 1
    assert len(spares) == 1


def test_users_of_one_test__never_share(opened: list[object]) -> None:
    def several() -> None:
        users = [create(name) for name in ("alice", "bob", "eve")]
        for user in users:
            write(user, user.username)
        assert [texts(user) for user in users] == [["alice"], ["bob"], ["eve"]]
        assert len({id(connection_of(user).connection) for user in users}) == 3
        assert len(spares) == 0

    for _ in range(3):
        run_test(several)
    assert len(opened) == 3


def test_user_of_an_inner_block_that_fails__is_followed_by_another_in_the_same_test(
    opened: list[object],
) -> None:
    def test() -> None:
        for name in ("alice", "bob"):
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                user = create(name)
                assert texts(user) == []
                write(user, name)
                raise ZeroDivisionError
            assert not any(level.born for level in transactions._levels.stack)
        use()

    run_test(test)
    assert len(opened) == 1


def test_class_of_many_users__keeps_few_connections() -> None:
    class Tests(TestCase):
        users: list[User]

        @classmethod
        def setUpTestData(cls) -> None:
            cls.users = [create(f"user{number}") for number in range(KEPT + 3)]
            for user in cls.users:
                write(user, user.username)

        def test(self) -> None:
            for user in self.users:
                assert texts(user) == [user.username]

    run(Tests, Tests)
    assert len(spares) == KEPT


def test_class_of_many_users__is_not_looked_through_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []
    surrender = DatabaseWrapper.surrender

    def counting(self: DatabaseWrapper, lease: AnyLease, *, force: Force) -> bool:
        asked.append(lease)
        return surrender(self, lease, force=force)

    class Tests(TestCase):
        users: list[User]

        @classmethod
        def setUpTestData(cls) -> None:
            cls.users = [create(f"user{number}") for number in range(20)]
            for user in cls.users:
                write(user, user.username)

        def test(self) -> None:
            for user in self.users:
                assert texts(user) == [user.username]
            assert pool.leased == 20
            assert asked == []

    monkeypatch.setattr(DatabaseWrapper, "surrender", counting)
    run(Tests)
    assert len(asked) == 20
    assert pool.leased == 0


def test_threads_at_once__never_share() -> None:
    fingerprint = provisioning.prepare()
    together = threading.Barrier(4)

    def write_and_read(key: str) -> list[tuple[str]]:
        with connections[alias_of(key)].cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO notes_note (text) VALUES (%s)", [key])
            together.wait(30)
            cursor.execute("SELECT text FROM notes_note")
            return cursor.fetchall()

    def use_and_leave(number: int) -> list[tuple[str]]:
        found = []
        for turn in range(20):
            key = f"{number}{turn}"
            staged = engine().stage_for_test(key, fingerprint)
            found += write_and_read(key)
            connections[alias_of(key)].close()
            staged.discard()
        return found

    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(use_and_leave, range(1, 5)))
    assert found == [[(f"{number}{turn}",) for turn in range(20)] for number in range(1, 5)]
    assert len(spares) == 4


def test_thread_that_ends__holds_no_connection() -> None:
    fingerprint = provisioning.prepare()

    def open_and_leave() -> None:
        staged = engine().stage_for_test("7", fingerprint)
        connections[alias_of("7")].ensure_connection()
        assert engine().staged_here("7") is staged
        assert pool.leased == 1

    in_thread(open_and_leave)
    pool.close_idle()
    assert pool.leased == 0


# Nothing left on it


def cursor_of(raw: Connection) -> sqlite3.Cursor:
    """Return a cursor in the middle of its rows."""
    cursor = raw.execute("SELECT text FROM notes_note UNION ALL SELECT 'more'")
    assert cursor.fetchone() == ("hers",)
    return cursor


LASTING: dict[str, Leave] = {
    "a temporary table": lambda raw: raw.execute("CREATE TEMP TABLE t AS SELECT * FROM notes_note"),
    "a pragma": lambda raw: raw.execute("PRAGMA recursive_triggers = ON"),
    "a function": lambda raw: raw.create_function("text_of_hers", 0, lambda: "hers"),
    "an aggregate": lambda raw: raw.create_aggregate("aggregate", 0, object),
    "a collation": lambda raw: raw.create_collation("backwards", lambda one, other: one < other),
    "an authorizer": lambda raw: raw.set_authorizer(None),
    "a progress handler": lambda raw: raw.set_progress_handler(lambda: None, 10),
    "a trace": lambda raw: raw.set_trace_callback(lambda sql: None),
    "a limit": lambda raw: raw.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 1),
    "a row factory": lambda raw: setattr(raw, "row_factory", sqlite3.Row),
    "a text factory": lambda raw: setattr(raw, "text_factory", bytes),
}
if sys.version_info >= (3, 12):
    LASTING["a configuration"] = lambda raw: raw.setconfig(
        sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False
    )
    LASTING["transactions by Python"] = lambda raw: setattr(raw, "autocommit", True)


@pytest.mark.parametrize("what", LASTING.values(), ids=LASTING)
def test_what_lasts_as_long_as_a_connection__is_not_left_to_the_next_user(what: Leave) -> None:
    leave(lambda connection: what(connection.connection) and None)
    assert len(spares) == 0
    run_test(use)
    assert len(spares) == 1


HOLDS: dict[str, Leave] = {
    "the connection": lambda raw: raw,
    "a half-read cursor": cursor_of,
    "a cursor": lambda raw: raw.cursor(),
    "a method": lambda raw: raw.execute,
    "an open value": lambda raw: raw.blobopen("notes_note", "text", 1),
}


@pytest.mark.parametrize("what", HOLDS.values(), ids=HOLDS)
def test_what_the_test_still_holds__never_reaches_the_next_user(what: Leave) -> None:
    held: list[object] = []
    leave(lambda connection: held.append(what(connection.connection)))
    assert len(spares) == 0
    run_test(use)


def test_half_read_cursor_of_django__finds_nobodys_rows() -> None:
    held = []

    def half_read(connection: BaseDatabaseWrapper) -> None:
        cursor = connection.cursor()
        cursor.execute("SELECT text FROM notes_note UNION ALL SELECT 'more'")
        assert cursor.fetchone() == ("hers",)
        held.append(cursor)

    leave(half_read)

    def test() -> None:
        use()
        with pytest.raises(sqlite3.ProgrammingError):
            held[0].cursor.fetchone()

    run_test(test)


def test_leftover_iterator__finds_nobodys_rows() -> None:
    held = []

    def half_read(connection: BaseDatabaseWrapper) -> None:
        Note.objects.bulk_create(Note(text=str(number)) for number in range(500))
        rows = Note.objects.order_by("pk").iterator(chunk_size=1)
        assert next(rows).text == "hers"
        held.append(rows)

    leave(half_read)
    assert len(spares) == 0
    run_test(use)


def test_constraints_switched_off__are_on_for_the_next_user() -> None:
    leave(lambda connection: connection.disable_constraint_checking())
    assert len(spares) == 0

    def test() -> None:
        user = create()
        with use_user(user), connection_of(user).cursor() as cursor:
            cursor.execute("PRAGMA foreign_keys")
            assert cursor.fetchone() == (1,)

    run_test(test)


def test_rows_that_were_committed__are_gone_for_the_next_user(opened: list[object]) -> None:
    leave(lambda connection: connection.connection.execute("COMMIT"))
    for _ in range(2):
        run_test(use)
    assert len(opened) == 1


def test_schema_that_was_committed__is_gone_for_the_next_user() -> None:
    def change(connection: BaseDatabaseWrapper) -> None:
        # Python commits what is open before a script.
        connection.connection.executescript("CREATE TABLE first (text); DROP TABLE notes_note_tags")

    leave(change)
    assert len(spares) == 0
    run_test(use)


def test_schema_that_was_rolled_back__answers_no_statement_of_the_next_user(
    opened: list[object],
) -> None:
    """SQLite knows a schema by how often it has changed, and both have changed equally often."""
    leave_table("CREATE TABLE first (text); INSERT INTO first VALUES ('first')")

    def test() -> None:
        user = create()
        with use_user(user), connection_of(user).cursor() as cursor:
            cursor.execute("CREATE TABLE second (text)")
            cursor.execute("INSERT INTO second VALUES ('second')")
            with (
                pytest.raises(OperationalError, match="no such table: first"),
                transaction.atomic(),
            ):
                cursor.execute("SELECT text FROM first")
            cursor.execute("SELECT text FROM second")
            assert cursor.fetchall() == [("second",)]

    run_test(test)
    assert len(opened) == 1


def leave_table(script: str) -> None:
    def make(connection: BaseDatabaseWrapper) -> None:
        with connection.cursor() as cursor:
            for statement in script.split(";"):
                cursor.execute(statement)
            cursor.execute("SELECT text FROM first")
            assert cursor.fetchall() == [("first",)]

    leave(make)


def test_another_template__is_not_put_into_a_kept_connection() -> None:
    """A statement that it keeps prepared would read the rows of another table."""
    run_test(use)
    (params,) = [raw.params for raw in spares._kept]
    assert spares.take(params, b"another") is None
    assert len(spares) == 0


def test_other_options__open_another_connection(opened: list[object]) -> None:
    run_test(use)
    here = engine().location
    with override_settings(
        USER_DATABASES={
            "default": {
                "ENGINE": "dsud.engines.sqlite",
                "LOCATION": here,
                "OPTIONS": {"timeout": 1},
            }
        }
    ):
        run_test(use)
    assert len(opened) == 2
    assert len(spares) == 1


# Opened in the eyes of others


def test_connection_created__is_sent_for_each_user() -> None:
    sent = []

    def receive(*, connection: BaseDatabaseWrapper, **kwargs: object) -> None:
        if connection.alias != "default":
            sent.append(connection.alias)

    connection_created.connect(receive)
    try:
        run_test(use)
        run_test(use)
    finally:
        connection_created.disconnect(receive)
    assert len(sent) == 2
    assert len(spares) == 1


def test_what_a_receiver_gives__is_not_left_to_a_user_whom_nobody_gives_it() -> None:
    def receive(*, connection: BaseDatabaseWrapper, **kwargs: object) -> None:
        connection.connection.create_function("shout", 1, str.upper)

    def shout() -> None:
        user = create()
        with use_user(user), connection_of(user).cursor() as cursor:
            cursor.execute("SELECT shout('quiet')")
            assert cursor.fetchone() == ("QUIET",)

    connection_created.connect(receive)
    try:
        run_test(shout)
        run_test(shout)
    finally:
        connection_created.disconnect(receive)

    def silent() -> None:
        with pytest.raises(OperationalError, match="no such function: shout"):
            shout()

    run_test(silent)


# Forks


def test_fork__inherits_none() -> None:
    run_test(use)
    child = os.fork()
    if child == 0:
        os._exit(len(spares))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(spares) == 0
    run_test(use)
