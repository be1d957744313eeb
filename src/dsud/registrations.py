"""Published databases are registered, some at a time: each time costs a commit of ``default``."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction

from dsud import models as registry
from dsud import provisioning
from dsud.context import user_key
from dsud.exceptions import DSUDError

#: How many databases are registered by one transaction, and how many seconds the first waits for that.
BATCH = 50
PATIENCE = 1.0


class NotRegistered(DSUDError):
    """Raised when ``default`` does not take it that databases are made: they are complete and in use."""

    def __init__(self, user_keys: list[str], cause: str) -> None:
        self.user_keys = user_keys
        self.cause = cause
        super().__init__(user_keys, cause)

    def __str__(self) -> str:
        return (
            f"The databases of {len(self.user_keys)} users are filled, but `default` did not register"
            f" them: {self.cause}. Mend that and run this again, which registers them:"
            f" {', '.join(self.user_keys)}."
        )


class Registrations:
    """Databases that are published and not registered yet.

    Those of a run that is killed are registered by the next.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, bool] = {}
        self._since = 0.0

    def add(self, key: str, *, current: bool) -> None:
        """Have a database registered soon, and whether its schema is the one that the code wants."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting[key] = current
        if len(self._waiting) >= BATCH or time.monotonic() > self._since + PATIENCE:
            self.write()

    def write(self) -> None:
        """Register what waits for it; raise ``NotRegistered`` if that fails, and try again next time."""
        if not self._waiting:
            return
        try:
            known = registry.ready_among(self._waiting)
            registered = _register(self._waiting)
        except Error as error:
            raise NotRegistered(list(self._waiting), str(error).rstrip(".\n ")) from error
        # Others may have registered some meanwhile, and told of them.
        told = [key for key in self._waiting if key not in known]
        self._waiting = {}
        with ExitStack() as all_of_them:  # Also when a receiver raises.
            for key in reversed(told):
                all_of_them.callback(provisioning.tell, key, is_registered=key in registered)


@contextmanager
def registering() -> Iterator[Registrations]:
    """Give what registers the databases that are made in this block, at its end at the latest."""
    registrations = Registrations()
    try:
        yield registrations
    finally:
        registrations.write()


def _register(waiting: Mapping[str, bool]) -> set[str]:
    """Register databases in one transaction, but those whose users are gone; return which."""
    with transaction.atomic(using=DEFAULT_DB_ALIAS):
        registry.hold_off_writers()
        there = _users_there(waiting)
        return {
            key
            for key, current in waiting.items()
            if key in there and provisioning.register(key, current=current)
        }


def _users_there(keys: Collection[str]) -> set[str]:
    """Return those of some keys whose users exist, whom nobody can delete in this transaction."""
    users = get_user_model()._base_manager.using(DEFAULT_DB_ALIAS).filter(pk__in=keys)
    if connections[DEFAULT_DB_ALIAS].features.has_select_for_update:
        users = users.select_for_update()
    return {user_key(pk) for pk in users.values_list("pk", flat=True)}
