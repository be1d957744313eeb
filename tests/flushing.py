"""Databases that tests have flushed get back at once what receivers of ``post_migrate`` would make again."""

from typing import Any

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from django.core.management.sql import emit_post_migrate_signal
from django.db import DEFAULT_DB_ALIAS, connections, transaction

#: What receivers make where these apps are installed: rows by table.
_made: dict[tuple[str, ...], dict[str, list[tuple[object, ...]]]] = {}


def make_quick() -> None:
    """Have ``flush`` send the signal once, and repeat what came of it from then on.

    Every test that commits ends with it, and content types and permissions take ten times as long
    to make as all else. Their keys are the same in each test.
    """
    flush.emit_post_migrate_signal = _repeat


def _repeat(verbosity: int, interactive: bool, database: str, **more: Any) -> None:
    installed = tuple(config.name for config in apps.get_app_configs())
    if database != DEFAULT_DB_ALIAS:
        emit_post_migrate_signal(verbosity, interactive, database, **more)
    elif installed not in _made:
        emit_post_migrate_signal(verbosity, interactive, database, **more)
        _made[installed] = _rows(database)
    else:
        ContentType.objects.clear_cache()
        _put_back(database, _made[installed])


def _rows(database: str) -> dict[str, list[tuple[object, ...]]]:
    connection = connections[database]
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.django_table_names(only_existing=True):
            cursor.execute(f'SELECT * FROM "{table}"')
            if rows := cursor.fetchall():
                found[table] = rows
    return found


def _put_back(database: str, made: dict[str, list[tuple[object, ...]]]) -> None:
    with transaction.atomic(using=database), connections[database].cursor() as cursor:
        for table, rows in made.items():
            places = ", ".join(["%s"] * len(rows[0]))
            cursor.executemany(f'INSERT INTO "{table}" VALUES ({places})', rows)
