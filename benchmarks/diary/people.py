"""Fills the site of the settings: tables, users, sessions, and notes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from django.apps import apps
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command

from benchmarks.diary.views import note_model

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from django.contrib.auth.base_user import AbstractBaseUser


def fill(*, users: int, notes: int) -> list[str]:
    """Make the tables and so many users with so many notes each; return the key of a session of each."""
    prepare()
    return [visit(person(f"user{number}"), notes) for number in range(1, users + 1)]


def prepare() -> None:
    """Make the tables of `default`."""
    call_command("migrate", verbosity=0)


def person(name: str) -> AbstractBaseUser:
    """Make a user; where users have databases, theirs, too."""
    return get_user_model().objects.create(username=name)


def visit(user: AbstractBaseUser, notes: int) -> str:
    """Write a user's notes and return the key of their session."""
    owner = {"owner": user} if apps.is_installed("benchmarks.diary.together") else {}
    with acting_as(user):
        note_model().objects.bulk_create(
            note_model()(title=f"Note {number}", text="x" * 200, **owner) for number in range(notes)
        )
    return session_of(user)


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
    if apps.is_installed("dsud"):
        from dsud import use_user

        return use_user(user)
    return nullcontext()
