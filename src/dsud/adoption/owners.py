"""Which owner path each user model has: found along its keys, or given by the operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

from django.contrib.auth import get_user_model
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import FieldDoesNotExist
from django.db import DEFAULT_DB_ALIAS
from django.db.models import ForeignKey, Model

from dsud import schema
from dsud.adoption.paths import (
    AnyModel,
    CopyPath,
    GenericPath,
    Incoming,
    KeyPath,
    OwnerPath,
    all_rows,
)
from dsud.exceptions import DSUDError
from dsud.router import is_user_model

Key = ForeignKey[Model, Model]


class OwnerPathUnclear(DSUDError):
    """Raised when rows cannot be handed out, because no path, or more than one, leads to their owner.

    ``models`` has for each of them the paths that could be meant.
    """

    def __init__(self, models: Mapping[str, list[str]]) -> None:
        self.models = dict(models)
        super().__init__(self.models)

    def __str__(self) -> str:
        return "\n".join(_line(label, paths) for label, paths in self.models.items())


def _line(label: str, paths: list[str]) -> str:
    if paths:
        lines = "".join(f"\n  --owner {label}={path}" for path in paths)
        return f"{label}: more than one key leads to an owner. Say which of them it is:{lines}"
    return (
        f"{label}: no key leads to an owner. Write --owner {label}=PATH, such as note__author, or"
        f" --copy {label} to give each user a copy of the rows that the user's own rows point to."
    )


class InvalidOwnerPath(DSUDError):
    """Raised when ``--owner`` or ``--copy`` names what is no owner path."""


def movable_models() -> list[AnyModel]:
    """Return every user model with a table of its own that migrations make."""
    return [
        model for model in schema.user_models() if model._meta.managed and not model._meta.proxy
    ]


def keys_of(model: AnyModel) -> Iterator[Key]:
    """Yield the keys that a model's own table has, one-to-one keys and that to its parent included."""
    for field in model._meta.local_concrete_fields:
        if isinstance(field, ForeignKey):
            yield field


def generic_keys_of(model: AnyModel) -> Iterator[GenericForeignKey]:
    """Yield the generic keys of a model."""
    for field in model._meta.private_fields:
        if isinstance(field, GenericForeignKey):
            yield field


def points_to(key: Key) -> AnyModel:
    """Return the model whose table a key points to."""
    model = key.remote_field.model
    assert not isinstance(model, str)  # noqa: S101, because all apps are loaded
    return model._meta.concrete_model or model


def leads_to_user(key: Key) -> bool:
    """Tell whether a key points to the user model, or to one that it extends."""
    users = get_user_model()._meta
    return points_to(key) in (users.concrete_model, *users.get_parent_list())


def generic_targets(model: AnyModel, field: GenericForeignKey) -> Iterator[tuple[int, AnyModel]]:
    """Yield the user models to which the generic keys of ``default`` point, by content type."""
    types = all_rows(model, DEFAULT_DB_ALIAS).values_list(field.ct_field, flat=True).distinct()
    for content_type in ContentType.objects.using(DEFAULT_DB_ALIAS).filter(pk__in=list(types)):
        target = content_type.model_class()
        if target is not None and is_user_model(target):
            yield content_type.pk, target._meta.concrete_model or target


Targets = Callable[[AnyModel, GenericForeignKey], Iterable[tuple[int, AnyModel]]]


class Search:
    """The search for the owner path of every user model, the shortest paths first."""

    def __init__(
        self,
        models: Iterable[AnyModel],
        *,
        given: Mapping[str, str],
        copied: Iterable[str],
        targets: Targets = generic_targets,
    ) -> None:
        """``targets`` finds out where generic keys point to."""
        self.models = list(models)
        self._targets = targets
        self.found: dict[AnyModel, OwnerPath] = {}
        self.ambiguous: dict[AnyModel, list[str]] = {}
        self._copied = [self._named(label, option="--copy") for label in copied]
        for label, path in given.items():
            model = self._named(label, option="--owner")
            self.found[model] = given_path(model, path)

    def _named(self, label: str, *, option: str) -> AnyModel:
        for model in self.models:
            if model._meta.label_lower == label.lower():
                return model
        raise InvalidOwnerPath(
            f"{option} {label}: that is no user model with a table in `default`."
        )

    def run(self) -> dict[AnyModel, OwnerPath]:
        """Return the path of each model that has one; ``ambiguous`` has those with several."""
        self._follow_keys()
        while self._follow_generic_keys() or self._follow_copies():
            self._follow_keys()
        return self.found

    def _open(self) -> list[AnyModel]:
        left = [each for each in self.models if each not in self.found]
        return [each for each in left if each not in self.ambiguous and each not in self._copied]

    def _follow_keys(self) -> None:
        """Follow keys one step further in each round, so that the shortest path is found first."""
        while rounds := {model: paths for model in self._open() if (paths := self._paths(model))}:
            for model, paths in rounds.items():
                chosen = paths if len(paths) == 1 else _certain(model, paths)
                if len(chosen) == 1:
                    self.found[model] = KeyPath(chosen[0])
                else:
                    self.ambiguous[model] = paths

    def _paths(self, model: AnyModel) -> list[str]:
        keys = list(_telling_keys(model))
        direct = [key.name for key in keys if leads_to_user(key)]
        return direct or [
            f"{key.name}__{path}"
            for key in keys
            if isinstance(path := self.found.get(points_to(key)), KeyPath)
        ]

    def _follow_generic_keys(self) -> bool:
        """Follow generic keys whose targets have paths by now; tell whether there was one."""
        for model in self._open():
            for field in generic_keys_of(model):
                targets = tuple(self._targets(model, field))
                if targets and all(target in self.found for _, target in targets):
                    paths = tuple((key, each, self.found[each]) for key, each in targets)
                    if not any(path.is_shared for _, _, path in paths):
                        self.found[model] = GenericPath(field, model, paths)
                        return True
        return False

    def _follow_copies(self) -> bool:
        for model in self._copied:
            incoming = tuple(self._incoming(model))
            if model not in self.found and incoming:
                self.found[model] = CopyPath(incoming)
                return True
        return False

    def _incoming(self, model: AnyModel) -> Iterator[Incoming]:
        for other, path in self.found.items():
            for key in keys_of(other):
                if points_to(key) is model:
                    yield Incoming(other, key, path)


def _telling_keys(model: AnyModel) -> Iterator[Key]:
    """Yield the keys that may say whose a row is.

    A row of a child is its parent's, and one between two tables is that of the side that names it.
    """
    parents = [key for key in model._meta.parents.values() if key is not None]
    if local := [key for key in keys_of(model) if key in parents]:
        yield from local[:1]
    elif source := cast("AnyModel | None", model._meta.auto_created or None):
        side = source._meta.concrete_model or source
        yield from [key for key in keys_of(model) if points_to(key) is side][:1]
    else:
        yield from keys_of(model)


def _certain(model: AnyModel, paths: list[str]) -> list[str]:
    """Return the paths that every row has, if they lead through user models.

    Those agree, because keys between the rows of two users are refused.
    """
    chains = [path for path in paths if "__" in path]
    return [path for path in chains if not model._meta.get_field(path.split("__")[0]).null]


def given_path(model: AnyModel, path: str) -> KeyPath:
    """Return the path that an operator gave; raise ``InvalidOwnerPath`` when it leads elsewhere."""
    here = model
    steps = path.removesuffix("__pk").split("__")
    for number, step in enumerate(steps, start=1):
        try:
            field = here._meta.get_field(step)
        except FieldDoesNotExist as error:
            raise InvalidOwnerPath(
                f"--owner {model._meta.label}={path}: {here._meta.label} has no field {step!r}."
            ) from error
        last = number == len(steps)
        if last and not field.is_relation:
            return KeyPath(path, ends_in_key=False)
        if not (field.many_to_one or field.one_to_one) or field.related_model is None:
            raise InvalidOwnerPath(
                f"--owner {model._meta.label}={path}: {step!r} leads to more than one row."
            )
        here = field.related_model
    if here._meta.concrete_model is not get_user_model()._meta.concrete_model:
        raise InvalidOwnerPath(
            f"--owner {model._meta.label}={path}: it leads to {here._meta.label} and not to"
            f" {get_user_model()._meta.label}."
        )
    return KeyPath("__".join(steps))
