"""The state of a user database: which schema the code wants, and Django's migrations to reach it."""

from __future__ import annotations

import functools
import hashlib
import inspect
import io
from collections.abc import Iterator
from pathlib import Path

import django
from django.apps import apps
from django.core.management import call_command
from django.core.signals import setting_changed
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ModelState

from dsud.connections import temporary
from dsud.context import Block, TemporaryActivation
from dsud.router import TEMPLATE_ALIAS, has_user_models, is_user_model

#: Raised by one whenever what a template holds beside the migrations changes.
TEMPLATE_VERSION = 1


@functools.cache
def fingerprint() -> str:
    """Return what identifies the schema that the code wants: 32 hexadecimal digits.

    It covers every migration by name, those of apps with user models also by their source,
    the models of apps without migrations, and which models are user models.
    """
    digest = hashlib.sha256()
    for line in _facts():
        digest.update(line.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def _facts() -> Iterator[str]:
    yield f"{TEMPLATE_VERSION} {django.get_version()}"
    loader = MigrationLoader(None)
    for key in sorted(loader.disk_migrations):
        yield ".".join(key)
        if has_user_models(key[0]):
            yield Path(inspect.getfile(type(loader.disk_migrations[key]))).read_bytes().hex()
    for model in sorted(apps.get_models(include_auto_created=True), key=_label):
        if not is_user_model(model):
            continue
        yield _label(model)
        if model._meta.app_label in loader.unmigrated_apps:
            state = ModelState.from_model(model)
            fields = {name: field.deconstruct()[1:] for name, field in state.fields.items()}
            yield f"{fields} {state.options}"


def _label(model: type) -> str:
    return str(model._meta.label_lower)


def forget_fingerprint(*, setting: str, **kwargs: object) -> None:
    """Compute the fingerprint anew after a setting that decides it has changed."""
    if setting in ("DSUD_APPS", "INSTALLED_APPS", "MIGRATION_MODULES"):
        fingerprint.cache_clear()


setting_changed.connect(forget_fingerprint, dispatch_uid="dsud.schema.forget_fingerprint")


def migrate_template(settings: dict[str, object]) -> None:
    """Fill an empty database with the tables of all user models, by the site's migrations."""
    with temporary(TEMPLATE_ALIAS, settings), Block(TemporaryActivation(TEMPLATE_ALIAS)):
        call_command(
            "migrate", database=TEMPLATE_ALIAS, run_syncdb=True, interactive=False, verbosity=0
        )


def migrate(alias: str, *target: str, **options: object) -> str:
    """Run Django's ``migrate`` on one user's database and return what it prints.

    ``target`` and ``options`` are those of the command. Raises what the migrations raise.
    """
    output = io.StringIO()
    call_command(
        "migrate", *target, database=alias, interactive=False, stdout=output, **options
    )
    return output.getvalue()


def is_current(alias: str) -> bool:
    """Tell whether every migration of the code is applied to the database."""
    executor = MigrationExecutor(connections[alias])
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())
