"""What objects, querysets, values and cursors of one user may do while another is active: nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar, cast

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS
from django.db.models import ForeignKey, Model, query
from django.db.models.fields import related_descriptors
from django.db.models.sql import Query, UpdateQuery

from dsud.connections import key_of_alias
from dsud.context import entered_key, refuse_unless_active, user_key
from dsud.copies import WRITING, guard_key, refuse_to_write_copies
from dsud.exceptions import NoActiveUser, WrongUser
from dsud.replacements import Replacement, put_into_place
from dsud.results import keep_prefetched
from dsud.router import is_user_model, owner_of
from dsud.stamps import JUDGED_FOR, STAMP, VALUES, Stamp, note, note_value, stamp

if TYPE_CHECKING:
    from django.db.models.sql.compiler import SQLCompiler

F = TypeVar("F", bound=Callable[..., object])


def refuse_foreign(instances: Iterable[object]) -> None:
    """Raise ``WrongUser`` when an instance is another user's than the active one's."""
    for instance in instances:
        if isinstance(instance, Model) and (owner := owner_of(instance)) is not None:
            active = entered_key()
            if active is not None and owner != active:
                raise WrongUser(owner=owner, active=active, what=f"A {instance._meta.label}")


# Cursors: the net under everything


#: Refuses to make or use a cursor for a user's database while another user is active.
refuse_cursor = refuse_unless_active


# Queries: stamped when they are built, judged when they are compiled


def _guard_init(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def stamped(self: Query, *args: object, **kwargs: object) -> None:
        init(self, *args, **kwargs)
        stamp(self)

    return stamped


def _guard_clone(clone: Callable[[Query], Query]) -> Callable[[Query], Query]:
    """Stamp what is derived from a class-level queryset, which was built for nobody."""

    @functools.wraps(clone)
    def stamped(self: Query) -> Query:
        copy = clone(self)
        notes = copy.__dict__
        if JUDGED_FOR in notes:
            del notes[JUDGED_FOR]
        if STAMP not in notes or notes[STAMP] is None:
            stamp(copy)
        return copy

    return stamped


def _guard_compiler(get_compiler: Callable[..., SQLCompiler]) -> Callable[..., SQLCompiler]:
    """Judge every query, subqueries and combined ones too, where it meets a connection."""

    @functools.wraps(get_compiler)
    def judged(self: Query, *args: object, **kwargs: object) -> SQLCompiler:
        compiler = get_compiler(self, *args, **kwargs)
        key = key_of_alias(compiler.connection.alias)
        if key is not None:
            # Because what it is ordered by and set to is resolved while it is compiled.
            self.__dict__[JUDGED_FOR] = key
            if isinstance(self, WRITING):
                refuse_to_write_copies(self, key)
            _judge_query(self, key)
        return compiler

    return judged


def _judge_query(query_: Query, key: str) -> None:
    notes = query_.__dict__
    for found in (notes.get(STAMP), *notes.get(VALUES, ())):
        if found and found.key() not in (None, key):
            _refuse_query(query_, found, active=key)


def _refuse_query(query_: Query, stamp: Stamp, *, active: str) -> None:
    if not query_.is_empty():  # ``.none()`` is free for everyone.
        label = "a model" if query_.model is None else query_.model._meta.label
        what = "A query" if query_.__dict__.get(STAMP) is stamp else "A value in a query"
        raise WrongUser(owner=str(stamp.key()), active=active, what=f"{what} of {label}")


def _guard_combine(combine: Callable[..., None]) -> Callable[..., None]:
    """Note for whom the other side of ``|`` and ``&`` was built."""

    @functools.wraps(combine)
    def noted(self: Query, rhs: Query, connector: str) -> None:
        combine(self, rhs, connector)
        if stamp := rhs.__dict__.get(STAMP):
            note(self, stamp)
        note(self, *rhs.__dict__.get(VALUES, ()))

    return noted


def _guard_lookup(check: Callable[..., None]) -> Callable[..., None]:
    """Note whose objects a query is filtered by: afterwards only their primary keys are left."""

    @functools.wraps(check)
    def noted(self: Query, value: object, *args: object, **kwargs: object) -> None:
        check(self, value, *args, **kwargs)
        note_value(self, value)

    return noted


def _guard_update(add: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(add)
    def noted(self: UpdateQuery, values_seq: Iterable[tuple[object, object, object]]) -> None:
        values = list(values_seq)
        for _, _, value in values:
            note_value(self, value)
        add(self, values)

    return noted


def _guard_related_update(add: Callable[..., None]) -> Callable[..., None]:
    """Note the values of fields that a model has from its parent, which are updated apart."""

    @functools.wraps(add)
    def noted(self: UpdateQuery, model: type[Model], field: object, value: object) -> None:
        note_value(self, value)
        add(self, model, field, value)

    return noted


# Where a queryset is evaluated


def _guard_db(db: property) -> property:
    """Let ``.none()`` be evaluated by nobody: it makes no query and needs no database."""

    def alias(self: query.QuerySet[Model]) -> str:
        try:
            return db.__get__(self)  # type: ignore[no-any-return]
        except NoActiveUser:
            if self.query.is_empty():
                return DEFAULT_DB_ALIAS
            raise

    return property(alias, doc=db.__doc__)


# Objects handed over in lists


def _guard_objects(method: F) -> F:
    """Refuse objects of another user that a method takes, in a list or one by one."""

    @functools.wraps(method)
    def refusing(self: object, *objs: object, **kwargs: object) -> object:
        if "objs" in kwargs:
            objs = (kwargs.pop("objs"), *objs)
        first = objs[0] if objs else None
        if isinstance(first, Iterable) and not isinstance(first, (str, Model, query.QuerySet)):
            first = list(first)  # Because a generator is read only once.
            objs = (first, *objs[1:])
            refuse_foreign(first)
        else:
            refuse_foreign(objs)
        return method(self, *objs, **kwargs)

    return cast("F", refusing)


def _guard_related_manager(create: Callable[..., type]) -> Callable[..., type]:
    """Guard ``remove`` and ``set``, which look at primary keys only."""

    @functools.wraps(create)
    def guarded(*args: object, **kwargs: object) -> type:
        manager = create(*args, **kwargs)
        for name in ("remove", "set"):
            if (method := vars(manager).get(name)) is not None:
                setattr(manager, name, _guard_objects(method))
        return manager

    return guarded


def _guard_prefetch(prefetch: Callable[..., object]) -> Callable[..., object]:
    """Refuse to prefetch over several users, because one database would answer for all."""

    @functools.wraps(prefetch)
    def refusing(instances: list[Model], prefetcher: object, lookup: object, level: int) -> object:
        owners = {owner_of(instance) or "nobody" for instance in instances}
        # In this order, because where no user model is met there may be no model of users either.
        leads = instances and _leads_to_user_model(prefetcher)
        if leads and isinstance(instances[0], get_user_model()):
            owners = {user_key(instance) for instance in instances}
            owners |= {key for key in [entered_key()] if key is not None}
        if len(owners) > 1:
            first, second, *_ = sorted(owners)
            raise WrongUser(owner=first, active=second, what="A prefetch over several users")
        answer = prefetch(instances, prefetcher, lookup, level)
        if leads:
            keep_prefetched(instances)
        return answer

    return refusing


def _leads_to_user_model(prefetcher: object) -> bool:
    model = getattr(prefetcher, "model", None)
    if model is None and (related := getattr(prefetcher, "related", None)) is not None:
        model = related.related_model
    return isinstance(model, type) and issubclass(model, Model) and is_user_model(model)


# Equality


def _same_row(self: Model, other: object) -> bool:
    """Compare as Django does, but rows of two users are two rows, whatever their keys."""
    if isinstance(other, Model):
        mine, theirs = owner_of(self), owner_of(other)
        if mine is not None and theirs is not None and mine != theirs:
            return False
    return Model.__eq__(self, other)


# Installation


def install() -> None:
    """Put the guards into Django; called once, when the apps are ready.

    What is private, and what breaks when it changes (seen on Django 5.2 to 6.1):

    - ``Query.__init__``, ``clone``, ``combine`` and ``get_compiler``: every ORM query is built and
      compiled there.
    - ``Query.check_query_object_type``, ``UpdateQuery.add_update_fields`` and
      ``add_related_update``: where an object given as a value becomes its primary key.
    - ``prefetch_one_level`` and the functions that make related managers: looked up in their
      modules when they are called.

    If one of them goes, the cursor's guard still refuses to reach another user's database;
    the tests of this module say which promise is lost.
    """
    put_into_place(_replaced())
    for model in apps.get_models(include_auto_created=True):
        if is_user_model(model) and model.__eq__ is Model.__eq__:
            setattr(model, "__eq__", _same_row)  # noqa: B010, because types take it for a method


def _replaced() -> Iterator[Replacement]:
    """Yield where each guard goes: a class or a module, the name in it, and the guard."""
    yield Query, "__init__", _guard_init
    yield Query, "clone", _guard_clone
    yield Query, "combine", _guard_combine
    yield Query, "get_compiler", _guard_compiler
    yield Query, "check_query_object_type", _guard_lookup
    yield UpdateQuery, "add_update_fields", _guard_update
    yield UpdateQuery, "add_related_update", _guard_related_update
    yield query.QuerySet, "db", _guard_db
    yield query.QuerySet, "bulk_create", _guard_objects
    yield query.QuerySet, "bulk_update", _guard_objects
    yield query, "prefetch_one_level", _guard_prefetch
    yield ForeignKey, "get_db_prep_save", guard_key
    modules = [related_descriptors]
    if apps.is_installed("django.contrib.contenttypes"):
        from django.contrib.contenttypes import fields

        modules.append(fields)
    for module in modules:
        for name in list(vars(module)):
            if name.startswith("create_") and name.endswith("_manager"):
                yield module, name, _guard_related_manager
