"""Which block is meant without an alias where the active user's database has one, as the admin opens it."""

from __future__ import annotations

import threading

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from dsud.connections import alias_of
from dsud.context import current_activation


class Blocks(threading.local):
    """The open blocks of this thread."""

    def __init__(self) -> None:
        #: The alias of each, the outermost first; None where nobody wrote one.
        self.aliases: list[str | None] = []


_open = Blocks()
_get_connection = transaction.get_connection
_set_rollback = transaction.set_rollback
_get_rollback = transaction.get_rollback


def entered(alias: str | None) -> None:
    """Take note of a block that was entered."""
    _open.aliases.append(alias)


def left() -> None:
    """Take note that the innermost block is left."""
    _open.aliases.pop()


def _alias_of_active_user() -> str | None:
    # Not asked for the key: where nobody knows it yet, nobody's database has been used either.
    activation = current_activation()
    key = None if activation is None else activation.glance()
    return None if key is None else alias_of(key)


def connection_of_block(using: str | None = None) -> BaseDatabaseWrapper:
    """Return the connection that ``on_commit()`` means without an alias.

    Where only the active user's database has an open block, that one is meant: outside of any, the
    callback would run at once, before the rows are there, or although they never will be.
    """
    default: BaseDatabaseWrapper = _get_connection(using)
    if using is not None or default.in_atomic_block or not _open.aliases:
        return default
    alias = _alias_of_active_user()
    return default if alias is None or alias not in _open.aliases else connections[alias]


def _innermost(using: str | None) -> str | None:
    """Return the alias of the innermost block if it is the active user's and no other was asked for."""
    if using is None and _open.aliases and _open.aliases[-1] == _alias_of_active_user():
        return _open.aliases[-1]
    return using


def set_rollback(rollback: bool, using: str | None = None) -> None:  # noqa: FBT001, as in Django
    """Have the innermost block rolled back, or the one of an alias."""
    _set_rollback(rollback, using=_innermost(using))


def get_rollback(using: str | None = None) -> bool:
    """Tell whether the innermost block, or the one of an alias, will be rolled back."""
    return _get_rollback(using=_innermost(using))


def install() -> None:
    """Teach the functions of ``django.db.transaction``; called once, when the apps are ready.

    ``get_connection`` says of itself that it is private; ``on_commit`` and the other functions of the
    module ask it (Django 5.2 to 6.1). If it goes, a callback that is registered in a view of the admin
    runs at once.
    """
    setattr(transaction, "get_connection", connection_of_block)  # noqa: B010, because types do not know it
    transaction.set_rollback = set_rollback
    transaction.get_rollback = get_rollback
