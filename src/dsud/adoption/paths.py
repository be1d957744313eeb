"""What an owner path is: which rows of a model are whose, as a condition and as an expression."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias, cast

from django.contrib.contenttypes.fields import GenericForeignKey
from django.db.models import (
    Case,
    CharField,
    F,
    ForeignKey,
    IntegerField,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast

AnyModel: TypeAlias = type[Model]
Rows: TypeAlias = "QuerySet[Model]"

#: The name under which a query knows the owner of each row.
OWNER = "dsud_owner"


def all_rows(model: AnyModel, alias: str | None = None) -> Rows:
    """Return every row of a model, whatever its managers leave out, in no order."""
    return QuerySet(model, using=alias).order_by()


class OwnerPath(ABC):
    """How the owner of each row of a model is found."""

    #: Whether a row may be several users', who get a copy each.
    is_shared = False

    @abstractmethod
    def __str__(self) -> str: ...

    @abstractmethod
    def of(self, owner: object) -> Q:
        """Return the condition for rows of an owner: a primary key or an expression."""

    @abstractmethod
    def expression(self, prefix: str = "") -> Combinable:
        """Return what finds a row's owner from a model that leads here by ``prefix``."""

    def rows(self, model: AnyModel, owner: object, alias: str | None = None) -> Rows:
        """Return the rows of an owner."""
        return all_rows(model, alias).filter(self.of(owner))

    def owned(self, model: AnyModel, alias: str | None = None) -> Rows:
        """Return the rows that have an owner, with it."""
        rows = all_rows(model, alias).annotate(**{OWNER: self.expression()})
        return cast("Rows", rows.filter(**{f"{OWNER}__isnull": False}))


@dataclass(frozen=True)
class KeyPath(OwnerPath):
    """A key to the user, or a chain of keys that ends with one."""

    lookup: str
    #: Whether the last step is a key to the user and no plain number.
    ends_in_key: bool = True

    def __str__(self) -> str:
        return self.lookup

    def _whole(self, prefix: str = "") -> str:
        return f"{prefix}{self.lookup}{'__pk' if self.ends_in_key else ''}"

    def of(self, owner: object) -> Q:
        return Q(**{self._whole(): owner})

    def expression(self, prefix: str = "") -> Combinable:
        return F(self._whole(prefix))


@dataclass(frozen=True)
class GenericPath(OwnerPath):
    """A generic key: the owner of a row is the owner of the row that it points to."""

    field: GenericForeignKey
    model: AnyModel
    #: The models pointed to by the keys of their content types, with their own owner paths.
    targets: tuple[tuple[int, AnyModel, OwnerPath], ...]

    def __str__(self) -> str:
        names = ", ".join(sorted(model._meta.label for _, model, _ in self.targets))
        return f"{self.field.name} → {names}"

    def of(self, owner: object) -> Q:
        condition = Q(pk__in=[])
        for content_type, target, path in self.targets:
            keys = path.rows(target, owner).values_list(self._key_of(target))
            condition |= Q(
                **{self.field.ct_field: content_type, f"{self.field.fk_field}__in": keys}
            )
        return condition

    def expression(self, prefix: str = "") -> Combinable:
        cases = [
            When(
                **{f"{prefix}{self.field.ct_field}": content_type},
                then=owner_of(target, path, OuterRef(f"{prefix}{self.field.fk_field}")),
            )
            for content_type, target, path in self.targets
        ]
        return Case(*cases, default=Value(None))

    def _key_of(self, target: AnyModel) -> Combinable:
        """Return the key of a row as generic keys spell it."""
        if isinstance(self.model._meta.get_field(self.field.fk_field), IntegerField):
            return F("pk")
        return Cast("pk", CharField(max_length=255))


def owner_of(target: AnyModel, path: OwnerPath, key: OuterRef) -> Subquery:
    """Return what finds the owner of the row that a generic key points to."""
    found = all_rows(target).filter(pk=Cast(key, _plain(target)))
    return Subquery(found.annotate(**{OWNER: path.expression()}).values(OWNER)[:1])


def _plain(target: AnyModel) -> IntegerField[int, int] | CharField[str, str]:
    field = target._meta.pk
    while isinstance(field, ForeignKey):
        field = field.target_field
    return IntegerField() if isinstance(field, IntegerField) else CharField(max_length=255)


@dataclass(frozen=True)
class Incoming:
    """A key by which rows of users point to rows that are nobody's alone."""

    model: AnyModel
    key: ForeignKey[Model, Model]
    path: OwnerPath

    def __str__(self) -> str:
        return f"{self.model._meta.label}.{self.key.name}"


@dataclass(frozen=True)
class CopyPath(OwnerPath):
    """Rows that are nobody's alone: each user gets those that the user's rows point to."""

    incoming: tuple[Incoming, ...]

    is_shared = True

    def __str__(self) -> str:
        return "copies, by " + ", ".join(map(str, self.incoming))

    def of(self, owner: object) -> Q:
        condition = Q(pk__in=[])
        for each in self.incoming:
            keys = each.path.rows(each.model, owner).values(each.key.attname)
            condition |= Q(**{f"{each.key.target_field.name}__in": keys})
        return condition

    def expression(self, prefix: str = "") -> Combinable:
        raise TypeError("A row that is copied has no single owner.")

    def owned(self, model: AnyModel, alias: str | None = None) -> Rows:
        condition = Q(pk__in=[])
        for each in self.incoming:
            keys = each.path.owned(each.model).values(each.key.attname)
            condition |= Q(**{f"{each.key.target_field.name}__in": keys})
        return all_rows(model, alias).filter(condition)
