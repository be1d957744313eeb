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
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.exceptions import AmbiguityError
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.models import Model

from dsud.connections import alias_of, temporary, uncounted
from dsud.context import Activation, Block, TemporaryActivation
from dsud.exceptions import DSUDError
from dsud.router import TEMPLATE_ALIAS, has_user_models, is_user_model

#: Raised by one whenever what a template holds beside the migrations changes.
TEMPLATE_VERSION = 1


@functools.cache
def fingerprint() -> str:
    """Return what identifies the schema that the code wants: 32 hexadecimal digits.

    It covers every migration by name, those of apps with user models also by their source,
    the tables of apps without migrations, and which models are user models.
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
    models = sorted(user_models(), key=_label)
    yield from map(_label, models)
    yield from _definitions(
        [each for each in models if each._meta.app_label in loader.unmigrated_apps]
    )


def user_models() -> Iterator[type[Model]]:
    """Yield every user model, proxies and the tables of many-to-many fields included."""
    return filter(is_user_model, apps.get_models(include_auto_created=True))


def _label(model: type[Model]) -> str:
    return str(model._meta.label_lower)


def _definitions(models: list[type[Model]]) -> list[str]:
    """Return the statements that make the tables, which say what matters and nothing else."""
    if not models:
        return []
    # Django's own SQLite, whatever the engine is, because it only spells the tables.
    # The name is spelt so, because Django never closes what it calls ":memory:".
    spelling = {"ENGINE": "django.db.backends.sqlite3", "NAME": "file::memory:"}
    with temporary(TEMPLATE_ALIAS, spelling) as connection:
        with connection.schema_editor(collect_sql=True) as editor:
            for model in models:
                if model._meta.can_migrate(connection) and not model._meta.auto_created:
                    editor.create_model(model)
        return [*editor.collected_sql, *map(str, editor.deferred_sql)]


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
    call_command("migrate", *target, database=alias, interactive=False, stdout=output, **options)
    return output.getvalue()


def is_current(alias: str) -> bool:
    """Tell whether every migration of the code is applied and every user model has its table.

    A model that becomes a user model later has its migrations recorded already, but no table.
    """
    connection = connections[alias]
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return False
    wanted = {each._meta.db_table for each in user_models() if each._meta.can_migrate(connection)}
    return wanted <= set(connection.introspection.table_names())


def empty(key: str) -> None:
    """Delete all rows of a user's database, as that user, in the transaction that is open."""
    alias = alias_of(key)
    counted = connections[DEFAULT_DB_ALIAS], connections[alias]
    with Block(Activation(key=key), releases=False), uncounted(counted[0]), uncounted(counted[1]):
        for model in user_models():
            if model._meta.managed and not model._meta.proxy:
                model._base_manager.using(alias)._raw_delete(alias)


class UnknownMigration(DSUDError):
    """Raised when an operator names an app or a migration that there is not."""


def check_target(*target: str) -> None:
    """Raise ``UnknownMigration`` unless ``migrate`` could reach the target in some database."""
    if not target:
        return
    loader = MigrationLoader(None)
    app_label, *names = target
    if app_label not in apps.app_configs:
        raise UnknownMigration(f"No installed app with label {app_label!r}.")
    if not names or names == ["zero"]:
        return
    try:
        loader.get_migration_by_prefix(app_label, names[0])
    except (AmbiguityError, KeyError) as error:
        raise UnknownMigration(
            f"{names[0]!r} names no migration of the app {app_label!r}, or more than one."
        ) from error
