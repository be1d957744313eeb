"""A quick look into a user's file: it changes nothing, is counted, and stands in nobody's way."""

import sqlite3
from unittest import mock

import pytest
import pytest_django

from dsud import pool as pool_module
from dsud.connections import release
from dsud.engines import engine
from dsud.exceptions import UserDatabaseUnavailable
from dsud.leases import Force
from dsud.pool import pool
from tests.leasing import needs_proc, open_database_files, people, texts, working_on

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]

COUNT = "SELECT COUNT(*) FROM notes_note WHERE text <> %s AND text NOT LIKE '%%x'"


@pytest.fixture
def key() -> str:
    """Return the key of a user with one note, whose database nobody has open."""
    (user,) = people(1)
    release()
    pool.close_idle()
    return str(user.pk)


def test_reading__runs_a_statement_as_django_writes_it(key: str) -> None:
    with engine().reading(key) as cursor:
        cursor.execute(COUNT, ["y"])
        assert cursor.fetchone() == (1,)


def test_reading__can_change_nothing_and_does_not_free_itself(key: str) -> None:
    with engine().reading(key) as cursor:
        cursor.execute("PRAGMA query_only = OFF", ())
        with pytest.raises(sqlite3.OperationalError) as caught:
            cursor.execute("DELETE FROM notes_note", ())
    assert str(caught.value) == "attempt to write a readonly database"


def test_reading__is_kept_inside_the_database(key: str) -> None:
    with engine().reading(key) as cursor:
        for harmful in ("PRAGMA writable_schema = ON", "SELECT load_extension('x')"):
            with pytest.raises(sqlite3.DatabaseError) as caught:
                cursor.execute(harmful, ())
            assert "not authorized" in str(caught.value)


@needs_proc
def test_reading__counts_as_one_connection_while_it_lasts(key: str) -> None:
    with engine().reading(key) as cursor:
        cursor.execute(COUNT, ["y"])
        assert (pool.slots, pool.leased, pool.idle) == (1, 0, 0)
        assert open_database_files() == 3
    assert (pool.slots, pool.leased, pool.idle) == (0, 0, 0)
    assert open_database_files() == 0


def test_reading__after_an_error_leaves_nothing_open(key: str) -> None:
    with pytest.raises(sqlite3.OperationalError), engine().reading(key) as cursor:
        cursor.execute("SELECT 1 FROM no_such_table", ())
    assert (pool.slots, pool.leased) == (0, 0)


def test_reading__uses_a_connection_that_is_open_and_nobodys() -> None:
    (user,) = people(1)
    release()
    assert (pool.slots, pool.idle) == (1, 1)
    with engine().reading(str(user.pk)) as cursor:
        cursor.execute(COUNT, ["y"])
        assert cursor.fetchone() == (1,)
        assert (pool.slots, pool.idle) == (1, 0)
    assert (pool.slots, pool.idle) == (1, 1)
    assert texts(user) == ["person0"]


def test_reading__when_every_connection_is_in_use(
    settings: pytest_django.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "WAIT", 0.05)
    monkeypatch.setattr(pool_module, "LOOK", 0.02)
    alice, bob = people(2)
    release()
    pool.close_idle()
    settings.DSUD_MAX_OPEN = 1
    with (
        working_on(alice),
        pytest.raises(UserDatabaseUnavailable) as caught,
        engine().reading(str(bob.pk)),
    ):
        pass
    assert str(caught.value) == (
        f"The database of user '{bob.pk}' cannot be opened. All 1 connections of this process"
        " stayed in use for 0.05 s. Raise DSUD_MAX_OPEN or the limit of open files, or shorten what"
        " holds connections."
    )


def test_reading__takes_the_place_of_one_that_is_idle(settings: pytest_django.Settings) -> None:
    alice, bob = people(2)
    release()
    pool.close_idle()
    settings.DSUD_MAX_OPEN = 1
    assert texts(alice) == ["person0"]
    release()
    with engine().reading(str(bob.pk)) as cursor:
        cursor.execute(COUNT, ["y"])
        assert cursor.fetchone() == (1,)
        assert (pool.slots, pool.leased, pool.idle) == (1, 1, 0)
        pool.release_thread(force=Force.CURSORS)
        cursor.execute(COUNT, ["y"])  # Nobody takes it back as long as it lasts.
        assert cursor.fetchone() == (1,)
    assert (pool.slots, pool.leased) == (0, 0)


def test_reading__what_was_in_use_at_a_fork(key: str) -> None:
    inherited = frozenset([engine().pool_key(key)])
    with (
        mock.patch.object(pool, "_inherited", inherited),
        pytest.raises(UserDatabaseUnavailable) as caught,
        engine().reading(key),
    ):
        pass
    assert str(caught.value) == (
        f"The database of user '{key}' cannot be opened. It was in use when this process was forked,"
        " so SQLite cannot lock it here. Fork outside of transactions and requests, or start a fresh"
        " process (spawn)."
    )


def test_reading__of_nobody_makes_nothing(key: str) -> None:
    with pytest.raises(sqlite3.OperationalError) as caught, engine().reading("4711"):
        pass
    assert str(caught.value) == "unable to open database file"
    assert not engine().exists("4711")
    assert (pool.slots, pool.leased) == (0, 0)


def test_reading__what_is_staged_here_is_left_to_django(key: str) -> None:
    with engine().lock(key):
        staged = engine().stage_copy(key)
        try:
            assert engine().reading(key) is None
        finally:
            staged.discard()
