"""Whom operators mean: every user database, or those that names, keys and exclusions leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model

from dsud.context import user_key
from dsud.engines import engine
from dsud.exceptions import DSUDError
from dsud.models import UserDatabase

State = UserDatabase.State

#: Rows of the registry that are read at a time.
PAGE = 500


class UnknownUser(DSUDError):
    """Raised when a name given by an operator is no user, or could be two."""


def keys() -> Iterator[str]:
    """Yield the key of every user database: those registered first, then files that are not."""
    for key, state in _registered():
        # A database that was made may wait to be registered, if its maker was killed in between.
        if state == State.READY or (state == State.PENDING and engine().exists(key)):
            yield key
    yield from unregistered()


def unregistered() -> Iterator[str]:
    """Yield the key of each user whose database is there without the registry's knowing."""
    rows = UserDatabase.objects.using(DEFAULT_DB_ALIAS)
    found = engine().keys()
    while page := list(islice(found, PAGE)):
        known = set(rows.filter(user_key__in=page).values_list("user_key", flat=True))
        yield from (key for key in page if key not in known)


def _registered() -> Iterator[tuple[str, str]]:
    """Yield what is registered, page by page.

    Not by one cursor, because that would keep a snapshot of ``default`` open while the fleet works.
    """
    rows = UserDatabase.objects.using(DEFAULT_DB_ALIAS).order_by("pk")
    last = 0
    while page := list(rows.filter(pk__gt=last).values_list("pk", "user_key", "state")[:PAGE]):
        last = page[-1][0]
        yield from ((key, state) for _, key, state in page)


def select(
    *, users: Iterable[str], exclude: Iterable[str] = (), among: Iterable[str] | None = None
) -> list[str]:
    """Return the keys that usernames or keys name, less those excluded.

    When ``users`` names nobody, all ``among`` are meant; default: the whole fleet.
    Raises ``UnknownUser``.
    """
    left_out = {key_of_name(name) for name in exclude}
    chosen: Iterable[str] = [key_of_name(name) for name in users]
    if not chosen:
        chosen = keys() if among is None else among
    return [key for key in dict.fromkeys(chosen) if key not in left_out]


def key_of_name(name: str) -> str:
    """Return the key of the user whom an operator names by username or by primary key.

    Raises ``UnknownUser`` when nobody is called so, or two are.
    """
    found = {user_key(user) for user in (_by_username(name), _by_key(name)) if user is not None}
    if len(found) == 1:
        return found.pop()
    if found:
        raise UnknownUser(
            f"{name!r} is one user's name and another user's key: {sorted(found)}."
            " Give the key of the one or the name of the other."
        )
    raise UnknownUser(f"There is no user with the name or the key {name!r}.")


def _by_username(name: str) -> Model | None:
    model = get_user_model()
    return model._base_manager.filter(**{model.USERNAME_FIELD: name}).first()


def _by_key(name: str) -> Model | None:
    try:
        return get_user_model()._base_manager.filter(pk=name).first()
    except (ValueError, ValidationError):
        return None  # No primary key can look like this name.
