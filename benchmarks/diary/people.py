"""Fills the site of the settings: tables, users, sessions, and notes."""

from __future__ import annotations

from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore

from benchmarks.diary.views import note_model, owned_by

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import ModuleType

    from django.contrib.auth.base_user import AbstractBaseUser

#: The key of a user's session and the `Host` that their requests name, in a form that JSON keeps.
Visitor = list[str]

#: The last notes of each user are written as users do, by a commit each: enough of them for the log
#: of each file to be as long as it becomes, because a commit that lengthens it takes longer.
SINGLY = 20


def fill(*, users: int, notes: int, singly: int = SINGLY) -> list[Visitor]:
    """Make the tables and so many users with so many notes each; return them as visitors."""
    prepare()
    everybody = (person(f"user{number}") for number in range(1, users + 1))
    return [visit(each, notes, singly=singly) for each in everybody]


def prepare() -> None:
    """Make the tables that all users share."""
    _way().prepare()


def upgrade() -> None:
    """Bring all tables up to date, as after a deploy, with the command that is meant for it."""
    with redirect_stdout(StringIO()):
        _way().upgrade()


def person(name: str) -> AbstractBaseUser:
    """Make a user and what becomes their place."""
    with redirect_stdout(StringIO()):  # because one of the peers says what it migrates
        user = get_user_model().objects.create(username=name)
        _way().settle(user)
    return user


def visit(user: AbstractBaseUser, notes: int, *, singly: int = SINGLY) -> Visitor:
    """Write a user's notes, the last by a commit each; return them as a visitor."""
    written = [
        note_model()(title=f"Note {number}", text="x" * 200, **owned_by(user))
        for number in range(notes)
    ]
    with acting_as(user):
        note_model().objects.bulk_create(written[singly:])
        for each in written[:singly]:
            each.save()
    return [session_of(user), host_of(user)]


def session_of(user: AbstractBaseUser) -> str:
    """Return the key of a session in which the user is signed in."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def acting_as(user: AbstractBaseUser) -> AbstractContextManager[object]:
    """Return the block in which the user's notes are reached."""
    return _way().acting_as(user)


def host_of(user: AbstractBaseUser) -> str:
    """Return the `Host` that the user's requests must name."""
    return _way().host_of(user)


def _way() -> ModuleType:
    return import_module(settings.WAY)
