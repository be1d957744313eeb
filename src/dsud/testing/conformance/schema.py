"""The tables that the suite keeps in user databases, without an app that a site would have to install."""

from __future__ import annotations

import functools
import uuid

from django.apps import apps
from django.conf import settings as site
from django.db import migrations, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.state import ProjectState
from django.db.models import Manager, Model
from django.db.models.functions import ExtractYear, Lower

from dsud.connections import temporary
from dsud.context import Block, TemporaryActivation
from dsud.router import TEMPLATE_ALIAS

#: The label of an app that exists only in the state of migrations.
APP = "dsud_conformance"

#: What identifies the schema after the first migration, and after the second.
FIRST = f"{1:032x}"
SECOND = f"{2:032x}"


def _key() -> tuple[str, models.BigAutoField[int, int]]:
    return "id", models.BigAutoField(primary_key=True)


#: Something to write, with every kind of constraint.
ENTRY = migrations.CreateModel(
    "Entry",
    fields=[
        _key(),
        ("text", models.TextField()),
        ("code", models.CharField(max_length=20, unique=True, null=True)),
        ("amount", models.IntegerField(default=0)),
    ],
    options={
        "constraints": [
            models.CheckConstraint(condition=models.Q(amount__gte=0), name="conformance_amount")
        ]
    },
)

#: A row that needs another one of the same database.
REMARK = migrations.CreateModel(
    "Remark", fields=[_key(), ("entry", models.ForeignKey(f"{APP}.Entry", models.CASCADE))]
)

#: A row that needs one of ``default``, where no database can look.
READING = migrations.CreateModel(
    "Reading",
    fields=[_key(), ("reader", models.ForeignKey(site.AUTH_USER_MODEL, models.DO_NOTHING))],
)

#: A column of each type that Django has, and what the database itself computes with functions.
SAMPLE = migrations.CreateModel(
    "Sample",
    fields=[
        _key(),
        ("big_integer", models.BigIntegerField(null=True)),
        ("binary", models.BinaryField(null=True)),
        ("boolean", models.BooleanField(null=True)),
        ("char", models.CharField(max_length=200, null=True)),
        ("date", models.DateField(null=True)),
        ("date_time", models.DateTimeField(null=True)),
        ("decimal", models.DecimalField(max_digits=12, decimal_places=3, null=True)),
        ("duration", models.DurationField(null=True)),
        ("float", models.FloatField(null=True)),
        ("integer", models.IntegerField(null=True)),
        ("ip_address", models.GenericIPAddressField(null=True)),
        ("json", models.JSONField(null=True)),
        ("small_integer", models.SmallIntegerField(null=True)),
        ("text", models.TextField(null=True)),
        ("time", models.TimeField(null=True)),
        ("uuid", models.UUIDField(default=uuid.uuid4)),
        (
            "lower",
            models.GeneratedField(
                expression=Lower("char"),
                output_field=models.CharField(max_length=200),
                db_persist=True,
            ),
        ),
    ],
    options={
        "constraints": [
            models.CheckConstraint(
                condition=~models.Q(char__regex="^forbidden"), name="conformance_char"
            )
        ],
        "indexes": [models.Index(ExtractYear("date"), name="conformance_year")],
    },
)


class First(migrations.Migration):
    """Make the tables."""

    operations = [ENTRY, REMARK, READING, SAMPLE]


class Second(migrations.Migration):
    """Change a table that has rows, in each of the ways that SQLite needs to copy it for."""

    operations = [
        migrations.AddField("Entry", "author", models.CharField(max_length=20, default="nobody")),
        migrations.RenameField("Entry", "code", "mark"),
        migrations.AlterField("Entry", "amount", models.BigIntegerField(default=0)),
        migrations.AddField(
            "Remark",
            "writer",
            models.ForeignKey(site.AUTH_USER_MODEL, models.DO_NOTHING, null=True),
        ),
    ]


FIRST_MIGRATION = First("0001_first", APP)
SECOND_MIGRATION = Second("0002_second", APP)


@functools.cache
def state_before() -> ProjectState:
    """Return the models of the site, to which those of the suite have keys."""
    return ProjectState.from_apps(apps)


@functools.cache
def state_after(fingerprint: str) -> ProjectState:
    """Return the models of the site and of the suite at a fingerprint."""
    if fingerprint == SECOND:
        return SECOND_MIGRATION.mutate_state(state_after(FIRST))
    return FIRST_MIGRATION.mutate_state(state_before())


def rows(model: str, *, at: str = FIRST) -> Manager[Model]:
    """Return the rows of one of the models, in the database of whoever is active."""
    found: type[Model] = state_after(at).apps.get_model(APP, model)
    return found._default_manager


def fill(settings: dict[str, object], *, fingerprint: str = FIRST) -> None:
    """Make the tables in the empty database that an engine hands over to become the template."""
    with (
        temporary(TEMPLATE_ALIAS, settings) as connection,
        Block(TemporaryActivation(TEMPLATE_ALIAS)),
    ):
        apply(FIRST_MIGRATION, connection=connection)
        if fingerprint == SECOND:
            apply(SECOND_MIGRATION, connection=connection)


def apply(migration: migrations.Migration, *, connection: BaseDatabaseWrapper) -> None:
    """Apply a migration to a database that has those before it."""
    with connection.schema_editor(atomic=migration.atomic) as editor:
        migration.apply(_state_before(migration).clone(), editor)


def unapply(migration: migrations.Migration, *, connection: BaseDatabaseWrapper) -> None:
    """Reverse a migration."""
    with connection.schema_editor(atomic=migration.atomic) as editor:
        migration.unapply(_state_before(migration).clone(), editor)


def _state_before(migration: migrations.Migration) -> ProjectState:
    return state_after(FIRST) if migration is SECOND_MIGRATION else state_before()
