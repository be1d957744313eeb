"""Django's SQL functions on connections that were opened without them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import md5

import pytest
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3._functions import register
from django.db.models import F
from django.db.models.functions import MD5, Reverse
from django.db.utils import OperationalError

from dsud import provisioning, use_user
from dsud.connections import alias_of, release
from dsud.engines.sqlite import functions
from dsud.leases import Force
from dsud.pool import pool
from tests.notes.models import Note

pytestmark = pytest.mark.django_db(transaction=True)

DIGEST = md5(b"a", usedforsecurity=False).hexdigest()


def close_all() -> None:
    """Have the next visit open the file anew."""
    release(force=Force.EVERYTHING)
    pool.close_idle()


@pytest.fixture
def connection(location: object) -> Iterator[BaseDatabaseWrapper]:
    """Act as a user whose database is closed, and who has two notes."""
    provisioning.provision("7")
    with use_user("7"):
        Note.objects.create(text="a")
        Note.objects.create(text="b")
        close_all()
        yield connections[alias_of("7")]
        close_all()


def lacks_functions(connection: BaseDatabaseWrapper) -> bool:
    return connection.connection.lacks_functions


def run(connection: BaseDatabaseWrapper, sql: str, *parameters: object) -> list[object]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


# What there is


def names_of(raw: sqlite3.Connection) -> set[object]:
    return set(raw.execute("SELECT name, narg FROM pragma_function_list"))


def test_functions__are_all_that_django_registers(tmp_path) -> None:
    with (
        closing(sqlite3.connect(":memory:")) as usual,
        closing(functions.connect({"database": tmp_path / "any"})) as ours,
    ):
        register(usual)
        ours.add_functions()
        assert names_of(ours) == names_of(usual)


def test_functions__with_names_that_sqlite_has_are_there_at_once(monkeypatch) -> None:
    def knows_more(raw: sqlite3.Connection) -> None:
        raw.create_function("UPPER", 1, lambda text: "ours")
        raw.create_function("ABS", 3, lambda *values: "three of them")
        register(raw)

    monkeypatch.setattr(functions, "register", knows_more)
    functions.functions.cache_clear()
    try:
        with closing(functions.connect({"database": ":memory:"})) as raw:
            assert raw.execute("SELECT upper('a'), abs(1, 2, 3)").fetchone() == (
                "ours",
                "three of them",
            )
            assert raw.lacks_functions
    finally:
        functions.functions.cache_clear()


# When they come


def test_functions__come_with_the_first_statement_that_needs_one(connection) -> None:
    assert [note.text for note in Note.objects.order_by("pk")] == ["a", "b"]
    assert lacks_functions(connection)
    assert Note.objects.filter(pk=1).values_list(MD5("text")).get() == (DIGEST,)
    assert not lacks_functions(connection)


def test_functions__come_for_an_operator(connection) -> None:
    assert Note.objects.filter(text__regex="^[a]$").count() == 1


def test_functions__come_while_rows_are_half_read(connection) -> None:
    rows = Note.objects.order_by("pk").iterator(chunk_size=1)
    assert next(rows).text == "a"
    assert Note.objects.annotate(back=Reverse(F("text"))).order_by("pk").last().back == "b"
    assert [note.text for note in rows] == ["b"]


def test_functions__come_for_raw_connections(connection) -> None:
    connection.ensure_connection()
    assert connection.connection.execute("SELECT MD5('a')").fetchone() == (DIGEST,)
    close_all()
    connection.ensure_connection()
    assert connection.connection.cursor().execute("SELECT MD5(?)", "a").fetchone() == (DIGEST,)
    close_all()
    connection.ensure_connection()
    connection.connection.executemany("INSERT INTO notes_note (text) VALUES (MD5(?))", ["a"])
    close_all()
    connection.ensure_connection()
    connection.connection.executescript("UPDATE notes_note SET text = MD5('b') WHERE text = 'b'")
    assert Note.objects.filter(text=DIGEST).count() == 1
    assert not Note.objects.filter(text="b").exists()


def test_functions__come_for_many_rows_and_none_is_lost(connection) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO notes_note (text) VALUES (MD5(%s))", ([text] for text in "aa")
        )
    assert list(Note.objects.order_by("pk").values_list("text", flat=True)[2:]) == [DIGEST] * 2


def test_functions__come_for_scripts_and_nothing_is_done_twice(connection) -> None:
    with connection.cursor() as cursor:
        cursor.executescript(
            "INSERT INTO notes_note (text) VALUES ('c'); INSERT INTO notes_note (text) VALUES (MD5('a'))"
        )
    assert list(Note.objects.order_by("pk").values_list("text", flat=True)[2:]) == ["c", DIGEST]


def test_functions__come_for_what_checks_and_indexes_need(connection) -> None:
    run(connection, "CREATE TABLE words (word TEXT CHECK (word REGEXP '^[a-z]$'))")
    run(connection, "CREATE INDEX digests ON words (MD5(word))")
    close_all()
    run(connection, "INSERT INTO words VALUES (%s)", "a")
    close_all()
    assert run(connection, "SELECT word FROM words WHERE MD5(word) = %s", DIGEST) == [("a",)]
    close_all()
    plan = run(connection, "EXPLAIN QUERY PLAN SELECT word FROM words WHERE MD5(word) = %s", "")
    assert "digests" in str(plan)
    close_all()
    assert run(connection, "PRAGMA integrity_check") == [("ok",)]


def test_functions__in_a_transaction_leave_it_as_it_was(connection) -> None:
    with transaction.atomic(using=connection.alias):
        Note.objects.create(text="c")
        Note.objects.filter(text="c").update(text=MD5("text"))
        assert connection.in_atomic_block
    assert Note.objects.count() == 3


# What is not Django's


def test_functions__of_the_site_are_not_replaced(connection) -> None:
    connection.ensure_connection()
    connection.connection.create_function("MD5", 1, lambda text: "the site's")
    assert Note.objects.values_list(MD5("text"), Reverse("text"))[0] == ("the site's", "a")


def test_functions__that_nobody_has_are_refused(connection) -> None:
    with pytest.raises(OperationalError) as caught:
        run(connection, "SELECT nobody_has_it(1)")
    assert str(caught.value) == "no such function: nobody_has_it"
    assert not lacks_functions(connection)


def test_functions__do_not_come_for_other_errors(connection) -> None:
    with pytest.raises(OperationalError, match=r"^no such table: nowhere$"):
        run(connection, "SELECT * FROM nowhere")
    assert lacks_functions(connection)
