"""The primary keys of each user database come from a range of its own, if ``DSUD_DISTINCT_KEYS`` says so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.core.management.color import no_style
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import BigAutoField, Max, Model, QuerySet
from django.db.models.options import Options

from dsud import schema
from dsud.conf import conf
from dsud.connections import alias_of, uncounted
from dsud.context import Activation, Block
from dsud.engines import engine
from dsud.engines.abilities import DISTINCT_KEYS
from dsud.engines.ranges import LAST_NUMBER, KeyRange, number_of
from dsud.exceptions import KeyRangesExhausted, NotSupportedByEngine
from dsud.models import UserDatabaseNumber

logger = logging.getLogger("dsud")

#: How often a number is drawn again that turns out to be claimed by a database from elsewhere.
ATTEMPTS = 100


def for_new(key: str) -> dict[str, KeyRange]:
    """Return what to tell the engine of the keys of a database that it is about to make.

    Raises ``KeyRangesExhausted``, and ``NotSupportedByEngine`` when the engine cannot keep them apart.
    """
    if not conf.DSUD_DISTINCT_KEYS:
        return {}
    _refuse_other_engines()
    return {"keys": KeyRange(_draw_number(key), _tables())}


def seed(key: str) -> None:
    """Have new rows of a user's database get keys of its own range; those that are there stay.

    Does nothing unless ``DSUD_DISTINCT_KEYS``. To be called after a migration, which may have added
    tables, and for databases that are from before the setting or from elsewhere; the caller holds
    the database's lock. Raises what ``for_new`` raises.
    """
    if not conf.DSUD_DISTINCT_KEYS:
        return
    _refuse_other_engines()
    with Block(Activation(key=key), releases=False):
        number = engine().key_number(connections[alias_of(key)])
        if number is None or not _claim_number(number, key):
            number = _draw_number(key)
        last = number_of(_begin(key, number))
        if number < last <= _last_number():
            # Rows were put in with keys of another user's range, and the next ones would follow them.
            number = _draw_number(key)
            last = number_of(_begin(key, number))
        if number < last:
            logger.warning(
                "A user database has rows with keys beyond all ranges, and new ones follow them."
            )


def _begin(key: str, number: int) -> int:
    alias = alias_of(key)
    with transaction.atomic(using=alias):
        return engine().begin_keys(connections[alias], KeyRange(number, _tables()))


def _refuse_other_engines() -> None:
    if not engine().supports_distinct_keys:
        raise NotSupportedByEngine(engine().alias, DISTINCT_KEYS)


def _tables() -> tuple[str, ...]:
    """Return the tables whose keys are wide enough, those of many-to-many fields included."""
    metas = [model._meta for model in schema.user_models() if model._meta.managed]
    return tuple(sorted({meta.db_table for meta in metas if has_wide_keys(meta)}))


def has_wide_keys(meta: Options[Model]) -> bool:
    """Tell whether a table gives keys by itself, and has room for all of a range."""
    field: object = meta.auto_field
    return isinstance(field, BigAutoField)


# Numbers


def _numbers() -> QuerySet[UserDatabaseNumber]:
    return UserDatabaseNumber.objects.using(DEFAULT_DB_ALIAS)


def _draw_number(key: str) -> int:
    """Return a number that no database ever had.

    By a row for each, because a key that the database gives waits for no other transaction. SQLite
    gives one again after a rollback only, which has undone the user database, too.
    """
    for _ in range(ATTEMPTS):
        with suppress(IntegrityError), _writing():
            number = _numbers().create(user_key=key).pk
            if number > LAST_NUMBER:
                raise KeyRangesExhausted(
                    key,
                    f"No range of primary keys is left for the database of user {key!r}: all"
                    f" {LAST_NUMBER:,} were given. Set DSUD_DISTINCT_KEYS = False.",
                )
            return number
    raise KeyRangesExhausted(
        key,
        f"No range of primary keys was found for the database of user {key!r}, because databases"
        f" from elsewhere have the next {ATTEMPTS}. Try again.",
    )


def _claim_number(number: int, key: str) -> bool:
    """Tell whether a number is that of a user's database; one that nobody has becomes so.

    The registry does not know it when it was restored from an older backup, or is another site's.
    """
    owners = _numbers().filter(pk=number).values_list("user_key", flat=True)
    if not owners.exists():
        with suppress(IntegrityError), _writing() as cursor:
            _numbers().create(pk=number, user_key=key)
            # Where the next number does not follow from the rows that are there.
            for sql in cursor.db.ops.sequence_reset_sql(no_style(), [UserDatabaseNumber]):
                cursor.execute(sql)
    return owners.first() == key


@contextmanager
def _writing() -> Iterator[CursorWrapper]:
    connection = connections[DEFAULT_DB_ALIAS]
    with uncounted(connection), transaction.atomic(DEFAULT_DB_ALIAS), connection.cursor() as cursor:
        yield cursor


def _last_number() -> int:
    return _numbers().aggregate(last=Max("pk"))["last"] or 0
