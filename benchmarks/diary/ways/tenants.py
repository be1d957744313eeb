"""django-tenants: a schema and a host name for each user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.management import call_command
from django_tenants.utils import schema_context

from benchmarks.diary.customers.models import Client, Domain
from benchmarks.diary.ways.together import ONE_HOST

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from django.contrib.auth.base_user import AbstractBaseUser


def prepare() -> None:
    """Make the tables of the public schema, and its tenant."""
    call_command("migrate_schemas", "--shared", verbosity=0)
    _add("public", ONE_HOST)


def upgrade() -> None:
    """Bring the tables of all schemas up to date, as its documentation writes it."""
    call_command("migrate_schemas", verbosity=0)


def settle(user: AbstractBaseUser) -> None:
    """Make the user's schema, with its tables, and tell by which host name it is chosen."""
    _add(_schema_of(user), host_of(user))


def acting_as(user: AbstractBaseUser) -> AbstractContextManager[object]:
    """Return the block in which the user's notes are reached, as its documentation writes it."""
    return schema_context(_schema_of(user))


def host_of(user: AbstractBaseUser) -> str:
    """Return the `Host` that a user's requests name."""
    return f"user{user.pk}.diary.example"


def _schema_of(user: AbstractBaseUser) -> str:
    return f"user_{user.pk}"


def _add(schema: str, host: str) -> None:
    tenant = Client(schema_name=schema)
    tenant.save(verbosity=0)
    Domain.objects.create(domain=host, tenant=tenant, is_primary=True)
