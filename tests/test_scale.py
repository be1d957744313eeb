"""What a request costs does not depend on how many users there are."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import Client

from dsud.connections import KEPT_PER_THREAD, alias_of
from dsud.models import UserDatabase
from tests.leasing import people, texts

MANY = 50_000

pytestmark = pytest.mark.django_db(transaction=True)


def count_calls(function: Callable[[], object]) -> int:
    """Return how many functions a call runs, those of C included."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    previous = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(previous)
    return calls


NUMBERS = """
WITH RECURSIVE numbers (n) AS (
    SELECT 100000 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < 100000 + %s
)
"""
USERS = """
INSERT INTO auth_user (id, username, password, first_name, last_name, email, is_superuser,
                       is_staff, is_active, date_joined)
SELECT n, 'of-many-' || n, '', '', '', '', 0, 0, 1, '2026-01-01' FROM numbers
"""
DATABASES = """
INSERT INTO dsud_userdatabase (user_key, state, schema, last_error, created)
SELECT n, 'ready', '', '', '2026-01-01' FROM numbers
"""


@contextmanager
def many_more_users() -> Iterator[None]:
    """Register 50,000 more users with databases, and take them away again."""
    with connection.cursor() as cursor:
        cursor.execute(NUMBERS + USERS, [MANY])
        cursor.execute(NUMBERS + DATABASES, [MANY])
        # Because a -wal of thousands of pages slows every reader, whoever wrote it.
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert UserDatabase.objects.filter(state=UserDatabase.State.READY).count() > MANY
    yield
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM auth_user WHERE id >= 100000")
        cursor.execute("DELETE FROM dsud_userdatabase WHERE CAST(user_key AS INTEGER) >= 100000")
        cursor.execute("UPDATE sqlite_sequence SET seq = 1000 WHERE seq >= 100000")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def visits(users: list[User]) -> Callable[[], None]:
    """Return requests of a few users, the same ones each time."""
    browsers = [Client() for _ in users]
    for browser, user in zip(browsers, users, strict=True):
        browser.force_login(user)

    def visit() -> None:
        for number, browser in enumerate(browsers):
            assert browser.get("/notes/").json()["notes"][0] == f"person{number}"
            browser.get("/add/", {"text": "more"})

    return visit


def test_request__costs_the_same_with_50000_users_as_with_10() -> None:
    users = people(10)
    few, many = visits(users), visits(users)
    few()
    many()
    calls_few = [count_calls(few) for _ in range(3)]
    with many_more_users():
        calls_many = [count_calls(many) for _ in range(3)]
    assert min(calls_many) == pytest.approx(min(calls_few), rel=0.02), (calls_few, calls_many)


def test_aliases__of_50000_users_resolve_and_none_is_kept() -> None:
    users = people(2)
    chance = random.Random(1)
    calls = []
    for number in chance.sample(range(100_000, 100_000 + MANY), 300):
        alias = alias_of(str(number))
        calls.append(count_calls(lambda alias=alias: connections[alias]))
        assert connections[alias].settings_dict["USER_KEY"] == str(number)
    assert list(connections) == ["default"]
    # The first to take the place of another, against the last.
    first = KEPT_PER_THREAD + 10
    assert min(calls[-50:]) <= min(calls[first : first + 50]) * 1.02
    kept = [name for name in vars(connections._connections._storage) if name.startswith("user_")]
    assert len(kept) <= KEPT_PER_THREAD
    assert [texts(user) for user in users] == [["person0"], ["person1"]]
