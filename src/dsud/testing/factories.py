"""Users for tests, each with a database that is ready."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import cast

from django.contrib.auth import get_user_model
from django.db.models import Model

from dsud.testing.enrolment import ensure_database

_numbers = itertools.count(1)


def create_user(username: str | None = None, **fields: object) -> Model:
    """Create a user whose database is ready.

    ``username`` is made up when it is not given, and ``fields`` are further arguments of
    ``create_user``. Without a password nobody can log in with one, which ``force_login`` does not
    need, and no time is spent on hashing it.
    """
    model = get_user_model()
    name = username if username is not None else f"user{next(_numbers)}"
    if model.get_email_field_name() == model.USERNAME_FIELD and "@" not in name:
        name = f"{name}@example.com"
    create = cast("Callable[..., Model]", model._default_manager.create_user)
    user = create(**{model.USERNAME_FIELD: name, **fields})
    ensure_database(user)
    return user


def create_users(number: int, **fields: object) -> list[Model]:
    """Create several users whose databases are ready."""
    return [create_user(None, **fields) for _ in range(number)]
