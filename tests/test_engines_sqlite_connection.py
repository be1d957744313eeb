"""Cursors of user databases: they convert placeholders as Django's do, and remember what they have converted."""

import pytest
from django.db import connection as default
from django.db import connections

from dsud.connections import alias_of
from dsud.context import user_key
from dsud.engines.sqlite import connection
from tests.leasing import people

pytestmark = pytest.mark.django_db(transaction=True)

LONG_TEXT = "x" * connection.LONG

STATEMENTS = {
    "none": ("SELECT '100%%'", None),
    "of a list": ("SELECT %s, '100%%', %s", ["a", "%s"]),
    "of a mapping": ("SELECT %(one)s, '100%%', %(two)s", {"one": "a", "two": "%(one)s"}),
    "of a long statement": (f"SELECT %s, '{LONG_TEXT}%%'", ["a"]),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_placeholders__are_converted_as_by_django(name: str) -> None:
    (alice,) = people(1)
    sql, params = STATEMENTS[name]
    with default.cursor() as cursor:
        expected = cursor.execute(sql, params).fetchall()
    for _ in range(2):
        with connections[alias_of(user_key(alice))].cursor() as cursor:
            assert cursor.execute(sql, params).fetchall() == expected


def test_placeholders__of_long_statements_are_not_remembered() -> None:
    (alice,) = people(1)
    connection.converted.cache_clear()
    with connections[alias_of(user_key(alice))].cursor() as cursor:
        for length in (1, connection.LONG):
            cursor.execute(f"SELECT %s, '{'x' * length}'", ["a"])
    assert connection.converted.cache_info().currsize == 1
