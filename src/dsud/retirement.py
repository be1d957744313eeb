"""A user database goes out of service: to the trash, where it keeps everything."""

from __future__ import annotations

from dsud import models as registry
from dsud import transactions
from dsud.connections import alias_of
from dsud.engines import engine
from dsud.models import UserDatabase
from dsud.signals import user_database_deleted

State = UserDatabase.State


def retire(key: str, *, unless_expected: bool = False) -> None:
    """Move a user's database to the trash if there is one.

    With ``unless_expected`` it stays when the registry expects it: it is a new user's by now.
    """
    if not engine().exists(key):
        return
    with engine().lock(key):
        if unless_expected and registry.state_of(key) in (State.PENDING, State.READY):
            return
        if engine().exists(key):
            take_out_of_service(key)


def take_out_of_service(key: str) -> None:
    """Move a user's database to the trash; the caller holds its lock."""
    engine().delete(key)
    reopen_at_next_use(key)
    user_database_deleted.send(sender=None, user_key=key)


def reopen_at_next_use(key: str) -> None:
    """Have this thread part from the file it has open, because it is not the user's any more."""
    transactions.forget(alias_of(key))
