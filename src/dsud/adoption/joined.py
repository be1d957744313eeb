"""The tables of user databases as a merge sees them: which values are keys, and of what."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import DEFAULT_DB_ALIAS
from django.db.models import ForeignKey, IntegerField, Max, Model, UUIDField

from dsud.adoption.owners import (
    OwnerPathUnclear,
    Search,
    generic_keys_of,
    keys_of,
    movable_models,
    points_to,
)
from dsud.adoption.paths import AnyModel, KeyPath, OwnerPath, all_rows
from dsud.adoption.plan import in_order
from dsud.adoption.values import AnyField, Row, in_batches, stored_fields
from dsud.exceptions import UserDatabaseError

#: The keys that rows get in the place of those that they had, by the model that issues them.
Keys: TypeAlias = dict[AnyModel, dict[object, object]]

#: How many keys are looked up by one query.
BATCH = 500


class KeyTaken(UserDatabaseError):
    """Raised when a row cannot be merged, because its key is another row's and cannot be changed."""


@dataclass(frozen=True)
class Joined:
    """One table of every user database, and where its values are keys."""

    model: AnyModel
    path: OwnerPath | None
    #: Whether users have copies of the same rows.
    is_shared: bool
    fields: Sequence[AnyField]
    #: The places of the key, which may be made of several columns.
    keys: tuple[int, ...]
    #: Places of keys to user models, with the model that issues those keys.
    links: dict[int, AnyModel] = field(default_factory=dict)
    #: Places of generic keys: the content type, and the key.
    generic: list[tuple[int, int]] = field(default_factory=list)
    #: Places of keys to content types, whose numbers differ between databases.
    types: list[int] = field(default_factory=list)
    #: The place of the key to the owner, which is filled in where it is empty.
    owner: int | None = None

    @property
    def label(self) -> str:
        """Return the model's label."""
        return str(self.model._meta.label)

    @property
    def issues_keys(self) -> bool:
        """Tell whether rows have a key of their own, and not that of another row of the user's."""
        return len(self.keys) == 1 and self.keys[0] not in self.links


def joined_tables(
    *,
    given: Mapping[str, str],
    copied: Collection[str],
    unowned: Iterable[str],
    labels: Collection[str] = (),
) -> list[Joined]:
    """Return all tables, or those of the apps with these labels, those pointed to first.

    Raises ``OwnerPathUnclear`` for models whose rows nobody could tell apart after a merge, and
    ``InvalidOwnerPath``.
    """
    models = movable_models()
    search = Search(models, given=given, copied=copied, targets=lambda model, field: ())
    paths = search.run()
    shared = {label.lower() for label in copied}
    accepted = shared | {label.lower() for label in unowned}
    unclear = {
        str(model._meta.label): search.ambiguous.get(model, [])
        for model in models
        if _is_meant(model, labels)
        and not _is_clear(model, paths)
        and model._meta.label_lower not in accepted
    }
    if unclear:
        raise OwnerPathUnclear(unclear)
    return [
        _joined(model, paths.get(model), is_shared=model._meta.label_lower in shared)
        for model in in_order(models)
        if _is_meant(model, labels)
    ]


def _is_meant(model: AnyModel, labels: Collection[str]) -> bool:
    return not labels or model._meta.app_label in labels


def _is_clear(model: AnyModel, paths: Mapping[AnyModel, OwnerPath]) -> bool:
    """Tell whether an owner can be found; by a generic key it is that of the row pointed to."""
    if model in paths or any(generic_keys_of(model)):
        return True
    return any(
        any(generic_keys_of(points_to(key))) for key in keys_of(model) if points_to(key) != model
    )


def _joined(model: AnyModel, path: OwnerPath | None, *, is_shared: bool) -> Joined:
    fields = stored_fields(model)
    places = {each.name: place for place, each in enumerate(fields)}
    links = {places[key.name]: _issuer(points_to(key)) for key in _user_keys(model)}
    generic = [_places(each, places) for each in generic_keys_of(model)]
    types = [
        places[key.name]
        for key in keys_of(model)
        if issubclass(points_to(key), ContentType) and key.name in places
    ]
    owner = places.get(path.lookup) if isinstance(path, KeyPath) else None
    keys = tuple(places[each.name] for each in model._meta.pk_fields)
    return Joined(model, path, is_shared, fields, keys, links, generic, types, owner)


def _places(field: GenericForeignKey, places: Mapping[str, int]) -> tuple[int, int]:
    return places[field.ct_field], places[field.fk_field]


def _user_keys(model: AnyModel) -> Iterator[ForeignKey[Model, Model]]:
    """Yield the keys of a model to the primary keys of user models."""
    movable = movable_models()
    for key in keys_of(model):
        if points_to(key) in movable and key.target_field.primary_key:
            yield key


def _issuer(model: AnyModel) -> AnyModel:
    """Return the model whose keys a model's rows have: a child's row has its parent's key."""
    while isinstance(key := model._meta.pk, ForeignKey) and points_to(key) in movable_models():
        model = points_to(key)
    return model


# Keys


class Issue:
    """The keys of one table in the database that all users are merged into."""

    def __init__(self, table: Joined, alias: str) -> None:
        self._table = table
        self._alias = alias

    def changed(self, user_key: str, keys: Iterable[object]) -> dict[object, object]:
        """Return another key for each of those that are taken already; raise ``KeyTaken``."""
        keys = list(keys)
        taken = list(self._taken(keys))
        field = self._table.model._meta.pk
        if isinstance(field, IntegerField):
            first = self._highest(keys) + 1
            return {key: first + number for number, key in enumerate(taken)}
        if isinstance(field, UUIDField):
            return {key: _as_it_was(key, uuid.uuid4()) for key in taken}
        if taken:
            raise KeyTaken(
                user_key,
                f"The row {taken[0]!r} of {self._table.label} of user {user_key!r} cannot be merged:"
                " another row has this key, and it is not a number that could be another."
                " Change the key of one of them.",
            )
        return {}

    def _taken(self, keys: Iterable[object]) -> Iterator[object]:
        rows = all_rows(self._table.model, self._alias)
        to_python = self._table.model._meta.pk.to_python
        for some in in_batches(keys, BATCH):
            values = {to_python(key): key for key in some}
            for found in rows.filter(pk__in=list(values)).values_list("pk", flat=True):
                yield values[found]

    def _highest(self, keys: Iterable[object]) -> int:
        found = all_rows(self._table.model, self._alias).aggregate(highest=Max("pk"))["highest"]
        return max([found or 0, *(key for key in keys if isinstance(key, int))])


def _as_it_was(old: object, new: uuid.UUID) -> object:
    return new.hex if isinstance(old, str) else new


class Translation:
    """Rows of one user as they are in the database that all users are merged into."""

    def __init__(self, keys: Keys, types: Mapping[int, int], *, owner: object) -> None:
        self._keys = keys
        self._types = types
        self._owner = owner
        self._issuers: dict[int, AnyModel | None] = {}

    def row(self, table: Joined, row: Row) -> Row:
        """Return a row with its own key, the keys in it, and its owner as they are there."""
        values = list(row)
        if table.issues_keys:
            (place,) = table.keys
            values[place] = self._key(table.model, values[place])
        for place, issuer in table.links.items():
            values[place] = self._key(issuer, values[place])
        for kind, key in table.generic:
            values[key] = self._generic(values[kind], values[key])
        for place in table.types:
            values[place] = self._types.get(values[place], values[place])  # type: ignore[call-overload]
        if table.owner is not None and values[table.owner] is None:
            values[table.owner] = self._owner
        return tuple(values)

    def _key(self, issuer: AnyModel, key: object) -> object:
        return self._keys.get(issuer, {}).get(key, key)

    def _generic(self, kind: object, key: object) -> object:
        """Return a generic key, which may be text although the key is a number."""
        issuer = self._issuer(kind)
        if issuer is None or key is None:
            return key
        plain = int(key) if _is_number(issuer) and isinstance(key, str) and key.isdecimal() else key
        changed = self._key(issuer, plain)
        return type(key)(changed) if changed != plain else key  # type: ignore[call-arg]

    def _issuer(self, kind: object) -> AnyModel | None:
        if not isinstance(kind, int):
            return None
        if kind not in self._issuers:
            types = ContentType.objects.using(DEFAULT_DB_ALIAS)
            found = types.filter(pk=kind).first()
            model = None if found is None else found.model_class()
            known = model is not None and (model._meta.concrete_model or model) in movable_models()
            self._issuers[kind] = (
                _issuer(model._meta.concrete_model or model) if known and model else None
            )
        return self._issuers[kind]


def _is_number(model: AnyModel) -> bool:
    return isinstance(model._meta.pk, IntegerField)


def changed_types(alias: str) -> dict[int, int]:
    """Return the numbers of content types that another database gives to those of ``default``."""
    if alias == DEFAULT_DB_ALIAS:
        return {}
    theirs = ContentType.objects.db_manager(alias)
    changed = {}
    for mine in ContentType.objects.using(DEFAULT_DB_ALIAS):
        found, _ = theirs.get_or_create(app_label=mine.app_label, model=mine.model)
        changed[mine.pk] = found.pk
    return changed
