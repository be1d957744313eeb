"""What happens to one database after birth."""

from __future__ import annotations

import functools

from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Model

from dsud.context import user_key
from dsud.engines import engine
from dsud.models import UserDatabase
from dsud.provisioning import take_out_of_service


def delete_with_user(*, instance: Model, using: str | None, **kwargs: object) -> None:
    """Delete the database of a user who is deleted, once that is committed."""
    if using != DEFAULT_DB_ALIAS:
        return
    key = user_key(instance)
    UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(user_key=key).update(
        state=UserDatabase.State.DELETED
    )
    transaction.on_commit(functools.partial(delete, key), using=DEFAULT_DB_ALIAS)


def delete(key: str) -> None:
    """Move a user's database to the trash, where it keeps everything; its path is not used again."""
    with engine().lock(key):
        if engine().exists(key):
            take_out_of_service(key)
