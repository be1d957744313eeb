"""What a split will move and what stays: tables in their order, counts, and whatever is in the way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from django.contrib.auth import get_user_model
from django.contrib.contenttypes.fields import GenericForeignKey
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Count, F, OuterRef, Q
from django.db.models.expressions import Combinable

from dsud.adoption.owners import (
    Key,
    OwnerPathUnclear,
    Search,
    generic_keys_of,
    generic_targets,
    keys_of,
    leads_to_user,
    movable_models,
    points_to,
)
from dsud.adoption.paths import OWNER, AnyModel, KeyPath, OwnerPath, Rows, all_rows, owner_of
from dsud.adoption.values import in_batches, stored_fields
from dsud.context import user_key
from dsud.exceptions import DSUDError
from dsud.router import TEMPLATE_ALIAS

#: How many users are looked up by one query.
BATCH = 500


class SourceOutdated(DSUDError):
    """Raised when a table of ``default`` lacks columns that its model has by now."""


class CrossingLinks(DSUDError):
    """Raised when rows of one user point to another user's, or to rows that stay in ``default``.

    ``links`` names them.
    """

    def __init__(self, links: list[str]) -> None:
        self.links = links
        super().__init__(links)

    def __str__(self) -> str:
        shown = "\n".join(f"  {link}" for link in self.links[:20])
        more = f"\n  and {len(self.links) - 20} more" if len(self.links) > 20 else ""  # noqa: PLR2004
        return (
            f"{len(self.links)} keys would lead out of their user's database, and nothing was moved."
            f" Change them in `default`, or leave their users out with --exclude:\n{shown}{more}"
        )


@dataclass(frozen=True)
class Table:
    """The rows of one model: how many have an owner, and which have not."""

    model: AnyModel
    path: OwnerPath
    rows: int
    #: Primary keys of the rows that nobody owns.
    loose: list[object] = field(default_factory=list)
    #: Primary keys of rows whose owner is not there any more, by the owner's.
    orphans: dict[str, list[object]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Return the model's label."""
        return str(self.model._meta.label)


@dataclass(frozen=True)
class Plan:
    """All tables in the order in which rows are moved, and the users who own any."""

    tables: list[Table]
    #: Keys of the users who own rows, with the primary key as ``default`` has it.
    owners: dict[str, object]


def make_plan(*, given: Mapping[str, str], copied: Iterable[str]) -> Plan:
    """Look through ``default`` and return what a split would do.

    Raises ``OwnerPathUnclear``, ``InvalidOwnerPath`` and ``SourceOutdated``.
    """
    models = [model for model in movable_models() if has_table(model)]
    search = Search(models, given=given, copied=copied)
    paths = search.run()
    unclear = {
        model._meta.label: search.ambiguous.get(model, [])
        for model in models
        if model not in paths and _of_default(model).exists()
    }
    if unclear:
        raise OwnerPathUnclear(unclear)
    owners: dict[object, bool] = {}
    tables = [_table(model, paths[model], owners) for model in in_order(paths)]
    there = sorted((pk for pk, exists in owners.items() if exists), key=_by_size)
    return Plan(tables, {user_key(cast("int", pk)): pk for pk in there})


def _by_size(pk: object) -> tuple[bool, object]:
    return isinstance(pk, int), pk if isinstance(pk, int) else str(pk)


def has_table(model: AnyModel, alias: str = DEFAULT_DB_ALIAS) -> bool:
    """Tell whether a database has a model's table; raise ``SourceOutdated`` for one without its columns."""
    connection, table = connections[alias], model._meta.db_table
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            return False
        # Only for its columns; Django's introspection parses much more.
        cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)} WHERE 1 = 0")  # noqa: S608
        there = {str(column[0]) for column in cursor.description}
    missing = {str(each.column) for each in stored_fields(model)} - there
    if missing:
        raise SourceOutdated(
            f"The table {table} of `{alias}` lacks the columns {', '.join(sorted(missing))}. Take"
            f" {model._meta.app_label!r} out of DSUD_APPS, run `manage.py migrate`, put it back, and"
            " run this again."
        )
    return True


def in_order(models: Collection[AnyModel]) -> Iterator[AnyModel]:
    """Yield models so that those pointed to come first, as far as there are no circles."""
    begun: set[AnyModel] = set()

    def visit(model: AnyModel) -> Iterator[AnyModel]:
        if model in begun or model not in models:
            return
        begun.add(model)
        for key in keys_of(model):
            yield from visit(points_to(key))
        yield model

    for model in sorted(models, key=lambda each: str(each._meta.label)):
        yield from visit(model)


def _of_default(model: AnyModel) -> Rows:
    return all_rows(model, DEFAULT_DB_ALIAS)


def _table(model: AnyModel, path: OwnerPath, owners: dict[object, bool]) -> Table:
    owned = path.owned(model, DEFAULT_DB_ALIAS)
    if path.is_shared:
        count = owned.count()
        return Table(model, path, count, _loose(model, owned, count))
    counts = dict(owned.values_list(OWNER).annotate(Count("pk")))
    loose = _loose(model, owned, sum(counts.values()))
    _look_up([owner for owner in counts if owner not in owners], owners)
    gone = [owner for owner in counts if not owners[owner]]
    orphans = {
        str(owner): list(path.rows(model, owner, DEFAULT_DB_ALIAS).values_list("pk", flat=True))
        for owner in gone
    }
    rows = sum(counts.values()) - sum(map(len, orphans.values()))
    return Table(model, path, rows, loose, orphans)


def _loose(model: AnyModel, owned: Rows, count: int) -> list[object]:
    """Return the keys of rows that nobody owns; ``count`` is how many are owned."""
    rows = _of_default(model)
    if rows.count() == count:
        return []  # As it mostly is, and to look for them takes as long as all the rest.
    return list(rows.exclude(pk__in=owned.values("pk")).values_list("pk", flat=True))


def _look_up(unknown: list[object], owners: dict[object, bool]) -> None:
    """Note of each owner whether there is such a user."""
    users = get_user_model()._base_manager.using(DEFAULT_DB_ALIAS)
    for some in in_batches(unknown, BATCH):
        there = set(users.filter(pk__in=cast("list[str]", some)).values_list("pk", flat=True))
        owners.update((owner, owner in there) for owner in some)


# What is in the way


def refuse_crossing_links(plan: Plan, keys: Collection[str]) -> None:
    """Raise ``CrossingLinks`` when rows of these users point to what will not be in their databases."""
    links = [link for key, link in crossing_links(plan) if key in keys]
    if links:
        raise CrossingLinks(links)


def crossing_links(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the keys that would lead out of a user's database, each with the user whose row it is in."""
    paths = {table.model: table.path for table in plan.tables}
    for model, path in paths.items():
        if path.is_shared:
            continue
        for key in keys_of(model):
            if leads_to_user(key) and _must_be_the_owner(path, key):
                yield from _naming_others(model, path, key)
            target = paths.get(points_to(key))
            if target is not None and not target.is_shared and not _is_step(path, key):
                theirs = target.expression(f"{key.name}__")
                where = Q(**{f"{key.name}__isnull": False})
                yield from _differing(
                    model, path, key, _of_default(model).filter(where), theirs=theirs
                )
        for generic in generic_keys_of(model):
            yield from _generic_links(model, generic, paths)


def _must_be_the_owner(path: OwnerPath, key: Key) -> bool:
    """Tell whether a key can name nobody else in a user database, where only the user's own row is."""
    target = points_to(key)._meta
    return (
        getattr(key, "db_constraint", False)
        and not _is_step(path, key)
        and bool(
            router.allow_migrate(
                TEMPLATE_ALIAS,
                target.app_label,
                model_name=target.model_name,
                model=points_to(key),
                constrained=key,
            )
        )
    )


def _naming_others(model: AnyModel, path: OwnerPath, key: Key) -> Iterator[tuple[str, str]]:
    rows = _of_default(model).annotate(mine=path.expression(), other=F(f"{key.name}__pk"))
    rows = rows.filter(~Q(mine=F("other")), mine__isnull=False, other__isnull=False)
    for pk, mine, other in rows.values_list("pk", "mine", "other").iterator():
        what = f"{model._meta.label} {pk} of user {str(mine)!r}"
        yield str(mine), f"{what}: {key.name} is user {str(other)!r}, and may not be empty"


def _generic_links(
    model: AnyModel, generic: GenericForeignKey, paths: Mapping[AnyModel, OwnerPath]
) -> Iterator[tuple[str, str]]:
    for content_type, target in generic_targets(model, generic):
        if (path := paths.get(target)) is not None and not path.is_shared:
            rows = _of_default(model).filter(**{generic.ct_field: content_type})
            theirs = owner_of(target, path, OuterRef(generic.fk_field))
            yield from _differing(model, paths[model], generic, rows, theirs=theirs)


def _differing(
    model: AnyModel,
    path: OwnerPath,
    key: Key | GenericForeignKey,
    rows: Rows,
    *,
    theirs: Combinable,
) -> Iterator[tuple[str, str]]:
    """Yield each row whose owner is another than that of the row it points to."""
    differ = Q(theirs__isnull=False) & ~Q(mine=F("theirs"))
    if getattr(key, "db_constraint", False):
        differ |= Q(theirs__isnull=True)
    rows = rows.annotate(mine=path.expression(), theirs=theirs).filter(differ, mine__isnull=False)
    for pk, mine, other in rows.values_list("pk", "mine", "theirs").iterator():
        whose = "nobody" if other is None else f"user {str(other)!r}"
        link = f"{model._meta.label} {pk} of user {str(mine)!r}: {key.name} is a row of {whose}"
        yield str(mine), link


def _is_step(path: OwnerPath, key: Key) -> bool:
    """Tell whether a row has its owner by this key, so that both have the same."""
    return isinstance(path, KeyPath) and path.lookup.split("__")[0] == key.name
