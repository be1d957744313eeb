"""Testing is public API: what a project's tests import."""

from pathlib import Path

from dsud.engines.scratch import scratch
from dsud.testing.cases import UserDatabaseTestMixin
from dsud.testing.clients import AsyncClient, Client
from dsud.testing.enrolment import enrol_users, withdraw_users
from dsud.testing.environment import install, start_afresh, uninstall
from dsud.testing.factories import create_user, create_users
from dsud.testing.isolation import assert_isolated

__all__ = [
    "AsyncClient",
    "Client",
    "UserDatabaseTestMixin",
    "assert_isolated",
    "create_user",
    "create_users",
    "directory",
    "enrol_users",
    "install",
    "start_afresh",
    "uninstall",
    "withdraw_users",
]


def directory() -> Path:
    """Return the directory in which the tests of this process keep user databases."""
    return scratch.directory()
