"""One tree of errors: each carries its data, says what to do, and crosses process borders."""

import copy
import pickle

import pytest
from django.core.exceptions import ImproperlyConfigured, PermissionDenied

from dsud import exceptions
from dsud.exceptions import (
    DSUDError,
    FleetFailed,
    InvalidEngine,
    InvalidUserKey,
    NoActiveUser,
    UserDatabaseAlreadyExists,
    UserDatabaseDoesNotExist,
    UserDatabaseError,
    UserDatabaseOutdated,
    UserDatabaseUnavailable,
    WrongUser,
)

ERRORS = [
    NoActiveUser(),
    NoActiveUser("because"),
    WrongUser(owner="1", active="2", what="A note"),
    InvalidUserKey("a\0b", "it contains NUL"),
    InvalidEngine("no LOCATION"),
    UserDatabaseError("7", "broken"),
    UserDatabaseDoesNotExist("7", "there is none"),
    UserDatabaseAlreadyExists("7", "there is one"),
    UserDatabaseUnavailable("7", "it is gone"),
    UserDatabaseOutdated("7", "it is behind", ["notes.0002"], ["notes.0003"]),
    FleetFailed({"7": UserDatabaseUnavailable("7", "it is gone"), "8": ValueError("odd")}),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle__keeps_everything(error: DSUDError, protocol: int) -> None:
    for again in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert {name: repr(value) for name, value in vars(again).items()} == {
            name: repr(value) for name, value in vars(error).items()
        }


def test_tree__has_one_root() -> None:
    raised = [
        each for each in vars(exceptions).values() if isinstance(each, type) and each.__module__ == "dsud.exceptions"
    ]  # fmt: skip
    assert len(raised) >= 10
    assert all(issubclass(each, DSUDError) and each.__doc__ for each in raised)


def test_tree__fits_into_djangos() -> None:
    assert issubclass(NoActiveUser, PermissionDenied)
    assert issubclass(InvalidUserKey, ValueError)
    assert issubclass(InvalidEngine, ImproperlyConfigured)


def test_status__of_the_response() -> None:
    assert {type(error).__name__: error.status_code for error in ERRORS} == {
        "NoActiveUser": 403,
        "WrongUser": 500,
        "InvalidUserKey": 500,
        "InvalidEngine": 500,
        "UserDatabaseError": 500,
        "UserDatabaseDoesNotExist": 503,
        "UserDatabaseAlreadyExists": 500,
        "UserDatabaseOutdated": 503,
        "UserDatabaseUnavailable": 503,
        "FleetFailed": 500,
    }


def test_messages() -> None:
    assert str(NoActiveUser()) == (
        "No user is active, so there is no user database to reach. Log in, or wrap the code"
        " in `with dsud.use_user(user):`."
    )
    error = InvalidUserKey("x" * 300, "its path would need 300 bytes of 240")
    assert str(error) == (
        f"'{'x' * 79} cannot name a user database: its path would need 300 bytes of 240."
    )
    assert (error.value, error.reason) == ("x" * 300, "its path would need 300 bytes of 240")
    failed = FleetFailed({"7": ValueError("odd")})
    assert str(failed) == (
        "1 user databases failed, all others are done. Mend the causes and run it again:\n  7: odd"
    )
