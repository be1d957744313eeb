"""Django's SQL functions are there where a text may call one, and nowhere else."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from django.db import connection
from django.db.backends.sqlite3 import _functions

from dsud.engines.sqlite import lending


@pytest.fixture
def raw() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        yield opened


def knows_md5(raw: sqlite3.Connection) -> bool:
    try:
        raw.execute("SELECT MD5('a')")
    except sqlite3.OperationalError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE t SET a = MD5(a)",
        "UPDATE t SET a = md5 (a)",
        'CREATE TABLE "t" ("a" text CHECK ("a" REGEXP \'b\'))',
        "SELECT django_date_extract('year', a, NULL, NULL) FROM t",
        "SELECT STDDEV_POP(a) FROM t",
    ],
)
def test_lend__where_one_is_named(raw: sqlite3.Connection, text: str) -> None:
    lending.lend(raw, text=text)
    assert knows_md5(raw)


@pytest.mark.parametrize(
    "text", ['ALTER TABLE "t" ADD COLUMN "a" text NULL', "SELECT length(a), md5ish FROM t", ""]
)
def test_lend__not_where_none_is(raw: sqlite3.Connection, text: str) -> None:
    lending.lend(raw, text=text)
    assert not knows_md5(raw)


def test_names__are_all_that_django_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those included that SQLite has, too, because Django's are called in their place."""

    class Heard(sqlite3.Connection):
        names: set[str] = set()

        def create_function(self, name: str, *args: object, **options: object) -> None:
            self.names.add(name.lower())

        def create_aggregate(self, name: str, *args: object) -> None:
            self.names.add(name.lower())

    with closing(sqlite3.connect(":memory:", factory=Heard)) as heard:
        _functions.register(heard)
        assert lending._names() == heard.names
    assert "sign" in heard.names


@pytest.mark.django_db
def test_lend__as_a_connection_of_django_has_them(raw: sqlite3.Connection) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("default is another database")
    listed = "SELECT DISTINCT name FROM pragma_function_list"
    with connection.cursor() as cursor:
        cursor.execute(listed)
        of_django = set(cursor.fetchall())
    lending.lend(raw, text="MD5(a)")
    assert set(raw.execute(listed).fetchall()) == of_django
