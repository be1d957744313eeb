"""A commit that does not wait for the disk: only where that loses no more than the commit itself."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.db import IntegrityError
from django.db.backends.sqlite3.base import DatabaseWrapper

from dsud.connections import temporary
from dsud.unsynced import unsynced

pytestmark = pytest.mark.django_db(transaction=True)

OFF, NORMAL, FULL, EXTRA = range(4)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[DatabaseWrapper]:
    """Return a connection to a file in WAL mode, whose commits are durable."""
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "default.sqlite3")}
    with temporary("other", settings) as connection:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("CREATE TABLE t (a UNIQUE)")
        yield connection


def level(connection: DatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous")
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("before", [FULL, EXTRA])
def test_unsynced__does_not_wait_for_the_disk_until_its_end(
    connection: DatabaseWrapper, before: int
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA synchronous = {before}")
    with unsynced(connection), connection.cursor() as cursor:
        assert level(connection) == NORMAL
        cursor.execute("INSERT INTO t VALUES (1)")
    assert level(connection) == before
    other = sqlite3.connect(connection.settings_dict["NAME"])
    assert other.execute("SELECT a FROM t").fetchall() == [(1,)]
    other.close()


def test_unsynced__waits_again_after_an_error(connection: DatabaseWrapper) -> None:
    with pytest.raises(IntegrityError), unsynced(connection), connection.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
        cursor.execute("INSERT INTO t VALUES (1)")
    assert level(connection) == FULL


@pytest.mark.parametrize("before", [OFF, NORMAL])
def test_unsynced__leaves_what_never_waits(connection: DatabaseWrapper, before: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA synchronous = {before}")
    with unsynced(connection):
        assert level(connection) == before
    assert level(connection) == before


def test_unsynced__waits_without_a_log_that_could_lose_only_the_end(
    connection: DatabaseWrapper,
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = DELETE")
    with unsynced(connection):
        assert level(connection) == FULL


def test_unsynced__waits_for_a_transaction_that_is_not_its_own(connection: DatabaseWrapper) -> None:
    connection.connection.execute("BEGIN")
    with unsynced(connection):
        assert level(connection) == FULL
    connection.connection.execute("ROLLBACK")


def test_unsynced__other_databases_are_as_durable_as_ever(connection: DatabaseWrapper) -> None:
    with unsynced(SimpleNamespace(vendor="postgresql", connection=object())):
        pass
    connection.close()
    with unsynced(connection):  # Nothing is open, so nothing is changed.
        assert connection.connection is None
