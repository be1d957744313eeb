"""Who listens to migrations: sites that do are told of each database, although replay needs it not."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

from django.apps import apps
from django.core.management.sql import emit_post_migrate_signal, emit_pre_migrate_signal
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.signals import post_migrate, pre_migrate
from django.dispatch import Signal

from dsud.plans import Plan
from dsud.router import has_user_models

#: Django's own receivers, by their module, and the app without whose models they have nothing to do.
DJANGOS = {
    "django.contrib.auth.management": "auth",
    "django.contrib.contenttypes.management": "contenttypes",
    "django.contrib.sites.management": "sites",
}


def are_heard() -> bool:
    """Tell whether anybody has to know."""
    return _is_heard(pre_migrate) or _is_heard(post_migrate)


def before(connection: BaseDatabaseWrapper, plan: Plan | None) -> bool:
    """Send ``pre_migrate`` if anybody has to know, and tell whether that was so."""
    is_heard = plan is not None and bool(plan.parts) and _is_heard(pre_migrate)
    if plan is not None and is_heard:
        emit_pre_migrate_signal(0, False, connection.alias, apps=apps, plan=plan.migrations)
    return is_heard


def after(connection: BaseDatabaseWrapper, plan: Plan | None) -> None:
    """Send ``post_migrate`` if anybody has to know."""
    if plan is not None and plan.parts and _is_heard(post_migrate):
        emit_post_migrate_signal(0, False, connection.alias, apps=apps, plan=plan.migrations)


def _is_heard(signal: Signal) -> bool:
    """Tell whether somebody listens who has something to do in user databases."""
    return any(
        module not in DJANGOS or has_user_models(DJANGOS[module]) for module in _modules_of(signal)
    )


def _modules_of(signal: Signal) -> Iterator[str]:
    # ``Signal.receivers`` has a receiver, or a weak reference to it, at the second place of each entry
    # (Django 5.2 to 6.1); if that changes, a test says that receivers are not called any more.
    for entry in signal.receivers:
        receiver = entry[1]() if isinstance(entry[1], weakref.ReferenceType) else entry[1]
        if receiver is not None:
            yield receiver.__module__
