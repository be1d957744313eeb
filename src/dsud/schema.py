"""The state of a user database: which schema the code wants, and Django's migrations to reach it."""

from __future__ import annotations

import functools
import hashlib
import inspect
import io
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import django
from django.apps import apps
from django.core.management import call_command
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.exceptions import AmbiguityError
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.models import Model

from dsud.conf import conf
from dsud.connections import alias_of, temporary, uncounted
from dsud.context import Activation, Block, TemporaryActivation
from dsud.engines.hooks import writing_copies
from dsud.exceptions import DSUDError
from dsud.router import (
    DECISIVE,
    TEMPLATE_ALIAS,
    has_copies,
    has_user_models,
    is_mirrored,
    is_user_model,
    mirrored_labels,
)

#: Raised by one whenever what a template holds beside the migrations changes.
TEMPLATE_VERSION = 2


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
    if conf.DSUD_DISTINCT_KEYS:
        yield "distinct keys"  # Because databases from before have to be given theirs.
    loader = MigrationLoader(None)
    for key in sorted(loader.disk_migrations):
        yield ".".join(key)
        if has_user_models(key[0]) or is_mirrored_app(key[0]):
            yield Path(inspect.getfile(type(loader.disk_migrations[key]))).read_bytes().hex()
    models = sorted(models_here(), key=_label)
    yield from (f"{_label(model)} {is_user_model(model)}" for model in models)
    yield from _definitions(
        [each for each in models if each._meta.app_label in loader.unmigrated_apps]
    )


def user_models() -> Iterator[type[Model]]:
    """Yield every user model, proxies and the tables of many-to-many fields included."""
    return filter(is_user_model, apps.get_models(include_auto_created=True))


def models_here() -> Iterator[type[Model]]:
    """Yield every model that has a table in user databases: user models and mirrored ones."""
    return _live_here(apps.get_models(include_auto_created=True))


def _live_here(models: Iterable[type[Model]]) -> Iterator[type[Model]]:
    return (model for model in models if is_user_model(model) or is_mirrored(model))


def is_mirrored_app(app_label: str) -> bool:
    """Tell whether user databases hold copies of an app's rows."""
    return any(label.split(".")[0] == app_label for label in mirrored_labels())


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
    if setting in (*DECISIVE, "DSUD_DISTINCT_KEYS"):
        fingerprint.cache_clear()


setting_changed.connect(forget_fingerprint, dispatch_uid="dsud.schema.forget_fingerprint")


def migrate_template(settings: dict[str, object]) -> None:
    """Fill an empty database with the tables of all user models, by the site's migrations.

    Like a new site's only database: with the shared tables, too, of apps that have both. They are
    dropped at the end, with what migrations put in them.
    """
    with (
        temporary(TEMPLATE_ALIAS, settings) as connection,
        Block(TemporaryActivation(TEMPLATE_ALIAS)),
        writing_copies(),
    ):
        call_command(
            "migrate", database=TEMPLATE_ALIAS, run_syncdb=True, interactive=False, verbosity=0
        )
        for model in filter(has_copies, models_here()):
            model._base_manager.using(TEMPLATE_ALIAS)._raw_delete(TEMPLATE_ALIAS)
        _drop_shared_tables(connection)


def _drop_shared_tables(connection: BaseDatabaseWrapper) -> None:
    kept = {model._meta.db_table for model in models_here()}
    shared = {model._meta.db_table for model in apps.get_models(include_auto_created=True)} - kept
    with connection.schema_editor() as editor:
        for table in sorted(shared & set(connection.introspection.table_names())):
            editor.execute(editor.sql_delete_table % {"table": editor.quote_name(table)})


def migrate(alias: str, *target: str, **options: object) -> str:
    """Run Django's ``migrate`` on one user's database and return what it prints.

    ``target`` and ``options`` are those of the command. Raises what the migrations raise.
    """
    output = io.StringIO()
    if not (options.get("plan") or options.get("prune")):
        add_missing_tables(alias)
    call_command("migrate", *target, database=alias, interactive=False, stdout=output, **options)
    return output.getvalue()


def add_missing_tables(alias: str) -> None:
    """Make the tables that a database lacks although its migrations say that it has them.

    So it is with a model that was made a user model, or a mirrored one, after the database was made.
    """
    connection = connections[alias]
    present = set(connection.introspection.table_names())
    if not (missing := missing_tables(connection, present)):
        return
    loader = MigrationLoader(connection)
    applied = [key for key in loader.applied_migrations if key in loader.graph.nodes]
    state = loader.project_state(applied)
    with connection.schema_editor() as editor:
        for model in _live_here(state.apps.get_models()):
            if model._meta.db_table in missing and model._meta.can_migrate(connection):
                editor.create_model(model)


def missing_tables(connection: BaseDatabaseWrapper, present: Collection[str]) -> set[str]:
    """Return the tables of today's models that are not among those of a database."""
    wanted = {each._meta.db_table for each in models_here() if each._meta.can_migrate(connection)}
    return wanted - set(present)


def is_current(alias: str) -> bool:
    """Tell whether every migration of the code is applied and every user model has its table.

    A model that becomes a user model later has its migrations recorded already, but no table.
    """
    connection = connections[alias]
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return False
    return not missing_tables(connection, connection.introspection.table_names())


def empty(key: str) -> None:
    """Delete all rows of a user's database, as that user, in the transaction that is open."""
    alias = alias_of(key)
    counted = connections[DEFAULT_DB_ALIAS], connections[alias]
    with Block(Activation(key=key), releases=False), uncounted(counted[0]), uncounted(counted[1]):
        for model in user_models():
            if model._meta.managed and not model._meta.proxy:
                model._base_manager.using(alias)._raw_delete(alias)


class UnknownMigration(DSUDError):
    """Raised when an operator names an app or a migration that user databases have not."""


def check_target(*target: str, run_syncdb: bool = False) -> None:
    """Raise ``UnknownMigration`` unless ``migrate`` could reach the target in some user database."""
    if not target:
        return
    app_label, *names = target
    try:
        apps.get_app_config(app_label)
    except LookupError as error:
        raise UnknownMigration(str(error)) from error
    if not has_user_models(app_label) and not is_mirrored_app(app_label):
        raise UnknownMigration(
            f"App {app_label!r} has no user models, so that user databases have none of its tables."
            f" Those are migrated by `manage.py migrate {app_label}`."
        )
    loader = MigrationLoader(None)
    if (app_label in loader.migrated_apps) is run_syncdb:
        raise UnknownMigration(
            f"Can't use run_syncdb with app {app_label!r} as it has migrations."
            if run_syncdb
            else f"App {app_label!r} does not have migrations."
        )
    if names and names != ["zero"]:
        _check_name(loader, app_label, names[0])


def _check_name(loader: MigrationLoader, app_label: str, name: str) -> None:
    try:
        loader.get_migration_by_prefix(app_label, name)
    except AmbiguityError as error:
        raise UnknownMigration(
            f"More than one migration matches {name!r} in app {app_label!r}."
            " Please be more specific."
        ) from error
    except KeyError as error:
        raise UnknownMigration(
            f"Cannot find a migration matching {name!r} from app {app_label!r}."
        ) from error
