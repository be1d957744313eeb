"""dj-lite-tenant: a database comes with the user, by a signal that runs `migrate` or copies a template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dj_lite_tenant.middleware import tenant_db
from django.core.management import call_command

from benchmarks.diary.ways.together import host_of, prepare, settle

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from django.contrib.auth.base_user import AbstractBaseUser

__all__ = ["acting_as", "host_of", "prepare", "settle", "upgrade"]


def upgrade() -> None:
    """Bring the tables of all databases up to date, as its README writes it."""
    call_command("migrate", verbosity=0)
    call_command("migrate_tenant_dbs", verbosity=0)


def acting_as(user: AbstractBaseUser) -> AbstractContextManager[object]:
    """Return the block in which the user's notes are reached, as its README writes it."""
    return tenant_db(user)
