"""User databases in tests that pytest runs: importable without settings, and without Django."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django.db.models import Model

    Setup = Iterator[None]


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Iterator[None]:
    """Follow pytest-django's fixtures: first its environment, then its databases."""
    if fixturedef.argname == "django_db_setup":
        before = _name_of_default()
        outcome = yield
        if _name_of_default() != before:  # It is made only if a test uses it.
            _enrol(request)
        return outcome
    outcome = yield
    if fixturedef.argname == "django_test_environment" and _is_installed():
        _prepare(request)
    return outcome


def _is_installed() -> bool:
    from django.apps import apps
    from django.conf import settings

    return settings.configured and apps.ready and apps.is_installed("dsud")


def _name_of_default() -> object:
    """Return the database behind ``default``: the tests' own has another name."""
    from django.db import connections

    return connections["default"].settings_dict["NAME"] if _is_installed() else None


def _prepare(request: pytest.FixtureRequest) -> None:
    from dsud import testing
    from dsud.engines.scratch import scratch

    scratch.allow(request.getfixturevalue("tmp_path_factory").getbasetemp())
    testing.install()
    request.addfinalizer(scratch.remove)
    request.addfinalizer(testing.uninstall)


def _enrol(request: pytest.FixtureRequest) -> None:
    from dsud import testing

    blocker = request.getfixturevalue("django_db_blocker")

    def withdraw() -> None:
        with blocker.unblock():
            testing.withdraw_users()

    with blocker.unblock():
        testing.start_afresh()
    # Because a database that is kept would keep them, too.
    request.addfinalizer(withdraw)


@pytest.fixture
def user_database(db: None) -> Model:
    """Return a new user whose database is ready."""
    from dsud.testing import create_user

    return create_user()


@pytest.fixture
def as_user(user_database: Model) -> Iterator[Model]:
    """Run the test as a new user, and return them."""
    from dsud.context import use_user

    with use_user(user_database.pk):
        yield user_database
