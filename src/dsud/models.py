"""The registry: one row in ``default`` for each user database, for operators only."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from dsud.connections import uncounted
from dsud.unsynced import unsynced


class UserDatabase(models.Model):
    """A user database as operators see it; no query of a user ever reads this table."""

    class State(models.TextChoices):
        """Where a user database is in its life."""

        PENDING = "pending", _("to be made")
        READY = "ready", _("ready")
        DELETED = "deleted", _("in the trash")

    user_key = models.CharField(_("user key"), max_length=255, unique=True)
    state = models.CharField(
        _("state"), max_length=16, choices=State.choices, default=State.PENDING, db_index=True
    )
    schema = models.CharField(_("schema fingerprint"), max_length=64, blank=True)
    last_error = models.TextField(_("last error"), blank=True)
    created = models.DateTimeField(_("created"), auto_now_add=True)
    migrated = models.DateTimeField(_("migrated"), null=True, blank=True)
    # What files said when they were last looked at, because nothing is noted when they are used.
    size = models.BigIntegerField(_("size in bytes"), null=True, blank=True, db_index=True)
    last_used = models.DateTimeField(_("last used"), null=True, blank=True, db_index=True)
    missing = models.BooleanField(_("file is missing"), default=False, db_default=False)
    verified = models.DateTimeField(_("verified"), null=True, blank=True)

    class Meta:
        """How Django names the registry, and what operators look for among a hundred thousand."""

        verbose_name = _("user database")
        verbose_name_plural = _("user databases")
        ordering = ("pk",)
        indexes = [
            models.Index(fields=["state", "schema"], name="dsud_by_schema"),
            models.Index(fields=["migrated"], name="dsud_by_migrated"),
            models.Index(fields=["state"], name="dsud_failed", condition=~models.Q(last_error="")),
            models.Index(fields=["state"], name="dsud_missing", condition=models.Q(missing=True)),
        ]

    def __str__(self) -> str:
        return self.user_key


class UserDatabaseNumber(models.Model):
    """The number that the keys of one user database begin with: its own for ever, the database's or not."""

    user_key = models.CharField(_("user key"), max_length=255, db_index=True)
    created = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        """How Django names a number; nobody is given permissions for it, because nobody edits it."""

        verbose_name = _("number of a user database")
        verbose_name_plural = _("numbers of user databases")
        default_permissions = ()
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.pk}: {self.user_key}"


class FleetRun(models.Model):
    """One run of a command over user databases: who was meant, and how it ended."""

    class Outcome(models.TextChoices):
        """How a run ended."""

        RUNNING = "running", _("running, or killed")
        DONE = "done", _("done")
        FAILED = "failed", _("some failed")
        STOPPED = "stopped", _("stopped")

    command = models.CharField(_("command"), max_length=255)
    arguments = models.JSONField(_("arguments"), default=list)
    started = models.DateTimeField(_("started"), auto_now_add=True, db_index=True)
    finished = models.DateTimeField(_("finished"), null=True, blank=True)
    outcome = models.CharField(
        _("outcome"), max_length=16, choices=Outcome.choices, default=Outcome.RUNNING
    )
    done = models.PositiveIntegerField(_("databases that are done"), default=0)
    failed = models.PositiveIntegerField(_("databases that failed"), default=0)

    class Meta:
        """The newest first."""

        verbose_name = _("run over user databases")
        verbose_name_plural = _("runs over user databases")
        ordering = ("-pk",)

    def __str__(self) -> str:
        return f"{self.pk}: {self.command}"


class FleetFailure(models.Model):
    """Why a run failed for one user's database."""

    run = models.ForeignKey(
        FleetRun, on_delete=models.CASCADE, related_name="failures", verbose_name=_("run")
    )
    user_key = models.CharField(_("user key"), max_length=255)
    cause = models.TextField(_("cause"))

    class Meta:
        """In the order of the run."""

        verbose_name = _("failure of a user database")
        verbose_name_plural = _("failures of user databases")
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.user_key}: {self.cause}"


def _uncounted() -> AbstractContextManager[None]:
    return uncounted(connections[DEFAULT_DB_ALIAS])


def rows(user_key: str) -> models.QuerySet[UserDatabase]:
    """Return the row of a user, or none."""
    return UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(user_key=user_key)


def state_of(user_key: str) -> str | None:
    """Return the state that is registered for a user's database; written out as ``put`` is."""
    with _uncounted(), connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            f"SELECT state FROM {UserDatabase._meta.db_table} WHERE user_key = %s",  # noqa: S608
            [user_key],
        )
        found = cursor.fetchone()
    return None if found is None else str(found[0])


def any_ready() -> bool:
    """Tell whether any database is registered as ready."""
    ready = UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(state=UserDatabase.State.READY)
    return ready.exists()


def hold_off_writers() -> None:
    """Keep others from writing to ``default`` until the open transaction ends.

    For databases where only a write does so, and others lock what is read: it writes nothing.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor == "sqlite":
        with _uncounted(), connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {UserDatabase._meta.db_table} WHERE 1 = 0")  # noqa: S608


def ready_among(keys: Collection[str]) -> set[str]:
    """Return those of some keys whose database is registered as ready."""
    ready = UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(state=UserDatabase.State.READY)
    with _uncounted():
        return set(ready.filter(user_key__in=keys).values_list("user_key", flat=True))


def ready_keys() -> list[str]:
    """Return the key of every user whose database is registered as ready."""
    ready = UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(state=UserDatabase.State.READY)
    return list(ready.values_list("user_key", flat=True))


def write(user_key: str, *, unless: str | None = None, **values: object) -> bool:
    """Change a user's row, or make it; tell whether that was done.

    It is left alone when its state is ``unless``.
    """
    found = rows(user_key) if unless is None else rows(user_key).exclude(state=unless)
    objects = UserDatabase.objects.using(DEFAULT_DB_ALIAS)
    with _uncounted():
        if found.update(**values):
            return True
        _, created = objects.get_or_create(user_key=user_key, defaults=values)
        return created or found.update(**values) > 0  # Another process may have made it meanwhile.


def put(
    user_key: str, *, unless: str | None = None, durably: bool = True, **values: object
) -> bool:
    """Do what ``write`` does, in one statement where that can be.

    Written out, because a sign-up waits for it, and the ORM takes several times as long. What need
    not be written ``durably`` may be lost with the power, until anything else is committed.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    if not connection.features.supports_update_conflicts_with_target:
        return write(user_key, unless=unless, **values)
    now = timezone.now()
    row = {**_defaults(), "created": now, "user_key": user_key, **values}
    row["state"] = str(row["state"])
    stored = connection.ops.adapt_datetimefield_value
    # Most values are prepared already, as every database takes them that has such a statement.
    parameters: list[Any] = [
        stored(value) if isinstance(value := row[name], datetime) else value for name in _names()
    ]
    relaxed = nullcontext() if durably else unsynced(connection)
    with uncounted(connection), relaxed, connection.cursor() as cursor:
        cursor.execute(_insert_or_update(tuple(values)), [*parameters, unless or ""])
        return bool(cursor.rowcount > 0)


def _columns() -> list[models.Field[object, object]]:
    return [field for field in UserDatabase._meta.concrete_fields if not field.primary_key]


@functools.cache
def _names() -> tuple[str, ...]:
    return tuple(field.name for field in _columns())


@functools.cache
def _defaults() -> dict[str, object]:
    """Return what a new row has, without making an instance to ask it."""
    return {field.name: field.get_default() for field in _columns()}


@functools.cache
def _insert_or_update(changed: tuple[str, ...]) -> str:
    return (
        f"INSERT INTO {UserDatabase._meta.db_table}"  # noqa: S608, because nothing is a visitor's
        f" ({', '.join(str(field.column) for field in _columns())})"
        f" VALUES ({', '.join('%s' for _ in _columns())})"
        f" ON CONFLICT (user_key) DO UPDATE SET"
        f" {', '.join(f'{name} = excluded.{name}' for name in changed)}"
        f" WHERE {UserDatabase._meta.db_table}.state <> %s"
    )


def keys_migrated_since(moment: datetime) -> set[str]:
    """Return the keys of all databases whose last migration was at a moment or later."""
    since = UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(migrated__gte=moment)
    return set(since.values_list("user_key", flat=True))


def outdated(schema: str) -> list[tuple[str, str]]:
    """Return key and state of every database that is registered with another schema."""
    others = ~models.Q(schema=schema) & ~models.Q(state=UserDatabase.State.DELETED)
    found = UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(others)
    return list(found.order_by("pk").values_list("user_key", "state"))


def count_ready() -> int:
    """Return how many databases are registered as ready."""
    ready = UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(state=UserDatabase.State.READY)
    return ready.count()


def count_current(schema: str) -> int:
    """Return how many databases are registered as ready with this schema."""
    ready = UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(state=UserDatabase.State.READY)
    return ready.filter(schema=schema).count()


def keys_by_schema(keys: Collection[str]) -> dict[str, str]:
    """Return one of the keys for each schema that is registered for them."""
    found: dict[str, str] = {}
    rows = UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(state=UserDatabase.State.READY)
    wanted = set(keys)
    for schema, key in rows.order_by("pk").values_list("schema", "user_key").iterator():
        if schema not in found and key in wanted:
            found[schema] = key
    return found


def schemas_of(keys: Collection[str]) -> dict[str, str]:
    """Return the schema that is registered for each ready database of the keys."""
    rows = UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(state=UserDatabase.State.READY)
    found, wanted = rows.values_list("user_key", "schema"), set(keys)
    return {key: schema for key, schema in found.iterator() if key in wanted}


def write_ready(keys: Sequence[str], **values: object) -> None:
    """Change the rows of many ready databases at once, and make those that are missing."""
    objects = UserDatabase.objects.using(DEFAULT_DB_ALIAS)
    here = objects.filter(user_key__in=keys)
    with _uncounted(), transaction.atomic(using=DEFAULT_DB_ALIAS):
        here.exclude(state=UserDatabase.State.DELETED).update(**values)
        known = set(here.values_list("user_key", flat=True))
        missing = [UserDatabase(user_key=key, **values) for key in keys if key not in known]
        objects.bulk_create(missing, ignore_conflicts=True)


def record_failure(user_key: str, error: BaseException) -> None:
    """Record what went wrong with a user's database."""
    rows(user_key).update(last_error=cause_of(error))


def cause_of(error: BaseException) -> str:
    """Return what is recorded of an error."""
    return f"{type(error).__name__}: {error}"


def mark_deleted(user_key: str) -> None:
    """Record that a user's database is deleted; its file follows when that is committed."""
    with _uncounted():
        rows(user_key).update(state=UserDatabase.State.DELETED)
