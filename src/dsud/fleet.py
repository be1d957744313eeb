"""Do something to many user databases, survive failures, report them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model

from dsud.context import use_user, user_key
from dsud.engines import engine
from dsud.exceptions import DSUDError, FleetFailed
from dsud.models import UserDatabase

R = TypeVar("R")

State = UserDatabase.State


class UnknownUser(DSUDError):
    """Raised when a name given by an operator is no user, or could be two."""


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What came of one user database: a result or an error, and how long it took in seconds."""

    user_key: str
    result: R | None
    error: Exception | None
    seconds: float


def keys() -> Iterator[str]:
    """Yield the key of every user database: those registered first, then files that are not."""
    states = UserDatabase.objects.using(DEFAULT_DB_ALIAS).order_by("pk")
    registered = dict(states.values_list("user_key", "state"))
    for key, state in registered.items():
        # A database that was made may wait to be registered, if its maker was killed in between.
        if state == State.READY or (state == State.PENDING and engine().exists(key)):
            yield key
    for key in engine().keys():  # noqa: SIM118, because an engine is no mapping
        if key not in registered:
            yield key


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


def for_each(function: Callable[[str], R], users: Iterable[str] | None = None) -> list[Outcome[R]]:
    """Call a function with the key of each user, as that user, and report every outcome in order.

    One user's failure stops nobody else.
    """
    return [_one(function, key) for key in (keys() if users is None else users)]


def _one(function: Callable[[str], R], key: str) -> Outcome[R]:
    result, error = None, None
    start = time.perf_counter()
    try:
        with use_user(key):
            result = function(key)
    except Exception as raised:  # noqa: BLE001, because it is this user's failure, and is reported
        error = raised
    return Outcome(key, result, error, time.perf_counter() - start)


def raise_failures(outcomes: Iterable[Outcome[R]]) -> None:
    """Raise ``FleetFailed`` when any of the outcomes is a failure."""
    failures = {each.user_key: each.error for each in outcomes if each.error is not None}
    if failures:
        raise FleetFailed(failures)
