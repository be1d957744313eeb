"""Two users with rows of the same primary keys, an operator, and browsers that are outside of any block."""

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from dsud import use_user
from dsud.connections import alias_of


@pytest.fixture(autouse=True)
def files(transactional_db: None) -> None:
    """Keep user databases in files, as in production, and commit what is written to them."""


@pytest.fixture
def alice(files: None) -> User:
    return User.objects.create_user("alice", password="secret")


@pytest.fixture
def bob(alice: User) -> User:
    return User.objects.create_user("bob", password="secret")


@pytest.fixture
def operator(bob: User) -> User:
    return User.objects.create_superuser("operator", password="secret")


@pytest.fixture
def each(alice: User, bob: User) -> Callable[[], Iterator[User]]:
    """Return what yields each of two users inside their block."""

    def users() -> Iterator[User]:
        for user in (alice, bob):
            with use_user(user):
                yield user

    return users


def browser_of(user: User) -> Client:
    """Return a browser in which somebody is logged in, and nobody is active."""
    browser = Client()
    browser.force_login(user)
    return browser


def open_as(operator: User, user: User) -> Client:
    """Return the browser of an operator who has switched to a user."""
    browser = browser_of(operator)
    switched = browser.post("/admin/switch-user/", {"user_id": user.pk})
    assert switched.status_code == 302
    return browser


def tables(user: User | None) -> set[str]:
    """Return the tables of a user's database, or of ``default`` for nobody."""
    alias = "default" if user is None else alias_of(str(user.pk))
    return set(connections[alias].introspection.table_names())


def migrations_of(app: str, user: User | None) -> list[str]:
    """Return which migrations of an app are recorded in a database, in the order of their names."""
    alias = "default" if user is None else alias_of(str(user.pk))
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT name FROM django_migrations WHERE app = %s ORDER BY name", [app])
        return [name for (name,) in cursor.fetchall()]
