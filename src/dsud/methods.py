"""What methods that apps write for their models, managers and querysets do with another user's objects: nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.apps import apps
from django.db.models import Field, Model, QuerySet
from django.db.models.manager import BaseManager
from django.utils.functional import cached_property

from dsud.guards import refuse_foreign
from dsud.router import is_user_model, owner_of

#: Marks what is judged already, because classes are met again with each model that extends them.
JUDGED = "dsud_judged"


# Methods and properties of models


def judge_method(method: Callable[..., object]) -> Callable[..., object]:
    """Let a method of another user's object neither write nor answer with the active user's rows.

    Of its object such a method uses only a primary key, or a place in a tree, and the active user
    has rows of the same ones.
    """
    # How Django marks what templates must not call, methods that replace its own included.
    writes = getattr(method, "alters_data", False)

    @functools.wraps(method)
    def judged(self: Model, *args: object, **kwargs: object) -> object:
        if writes:
            refuse_foreign([self])
        answer = method(self, *args, **kwargs)
        if _is_of_other_rows(answer, than=self):
            refuse_foreign([self])
        return answer

    return _like(method, judged)


def _is_of_other_rows(answer: object, *, than: Model) -> bool:
    """Tell whether an answer is made of user rows that have not come with the object itself."""
    if isinstance(answer, QuerySet):
        return is_user_model(answer.model)
    return (
        isinstance(answer, Model)
        and is_user_model(answer)
        and answer is not than
        and owner_of(answer) != owner_of(than)
    )


def _judge_property(original: property) -> property:
    read = original.fget and judge_method(original.fget)
    return property(read, original.fset, original.fdel, original.__doc__)


def _judge_cached(cached: Any) -> None:  # noqa: ANN401, because Python's and Django's have no type in common
    cached.func = judge_method(cached.func)


def _judge_descriptor(descriptor: object) -> None:
    """Judge what a package's own kind of attribute answers; it stays of the class that it was of.

    A version of a row that builds the row it was a version of is one of those.
    """
    kind = type(descriptor)

    def read(self: object, instance: Model | None, owner: type | None = None) -> object:
        answer = kind.__get__(self, instance, owner)  # type: ignore[attr-defined]
        if instance is not None and _is_of_other_rows(answer, than=instance):
            refuse_foreign([instance])
        return answer

    judging = {"__get__": read, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    descriptor.__class__ = type(kind.__name__, (kind,), {**judging, "__slots__": (), JUDGED: True})


def _is_descriptor(attribute: object) -> bool:
    """Tell whether an attribute is of a class that an app or a package has written to be read."""
    kind = type(attribute)
    return bool(
        _of_apps(kind)
        and kind.__module__.partition(".")[0] not in _NOT_OF_APPS
        and kind.__flags__ & _MADE_BY_PYTHON
        and hasattr(kind, "__get__")
        and not isinstance(attribute, (type, Field, BaseManager))
    )


#: Where the attributes are from that Python itself and dsud have.
_NOT_OF_APPS = {"builtins", "dsud", "functools", "types"}

#: Py_TPFLAGS_HEAPTYPE: an object of a class that C has made cannot become one of another class.
_MADE_BY_PYTHON = 1 << 9

# Methods of managers and querysets


def refuse_objects(method: Callable[..., object]) -> Callable[..., object]:
    """Refuse another user's objects as arguments, and as the object that a manager belongs to."""

    @functools.wraps(method)
    def refusing(self: BaseManager[Model], *args: object, **kwargs: object) -> object:
        model: type[Model] | None = self.model  # None in what migrations carry about.
        if model is not None and is_user_model(model):
            # Not getattr, because a manager may hand attributes that it lacks to its queryset.
            refuse_foreign([self.__dict__.get("instance"), *_each_object(*args, *kwargs.values())])
        return method(self, *args, **kwargs)

    return _like(method, refusing)


def _each_object(*arguments: object) -> Iterator[object]:
    for argument in arguments:
        if isinstance(argument, (list, tuple, set)):
            yield from argument
        else:
            yield argument


def _like(method: Callable[..., object], wrapper: Callable[..., object]) -> Callable[..., object]:
    setattr(wrapper, JUDGED, True)
    return markcoroutinefunction(wrapper) if iscoroutinefunction(method) else wrapper


# Installation

#: Properties that keep their first answer.
_CACHED = (cached_property, functools.cached_property)


def _of_apps(owner: type) -> bool:
    return owner is not object and owner.__module__.partition(".")[0] != "django"


def _subclasses(owner: type) -> Iterator[type]:
    subclasses: list[type] = owner.__subclasses__()
    for each in subclasses:
        yield each
        yield from _subclasses(each)


def _attributes(owner: type) -> Iterator[tuple[str, object]]:
    """Yield what is public in a class and not judged yet."""
    for name, attribute in list(vars(owner).items()):
        function = attribute
        if isinstance(attribute, property):
            function = attribute.fget
        elif isinstance(attribute, _CACHED):
            function = attribute.func
        if not name.startswith("_") and not getattr(function, JUDGED, False):
            yield name, attribute


def _judge_model(owner: type) -> None:
    for name, attribute in _attributes(owner):
        if isinstance(attribute, FunctionType):
            setattr(owner, name, judge_method(attribute))
        elif isinstance(attribute, property):
            setattr(owner, name, _judge_property(attribute))
        elif isinstance(attribute, _CACHED):
            _judge_cached(attribute)
        elif _is_descriptor(attribute):
            _judge_descriptor(attribute)


def _judge_manager(owner: type) -> None:
    for name, attribute in _attributes(owner):
        if isinstance(attribute, FunctionType):
            setattr(owner, name, refuse_objects(attribute))


def install() -> None:
    """Put the guards around the methods of apps; called once, when the apps are ready.

    Django's own methods have guards of their own, which know what each of them does.
    """
    for model in filter(is_user_model, apps.get_models()):
        for owner in filter(_of_apps, model.__mro__):
            _judge_model(owner)
    for base in (BaseManager, QuerySet):
        for owner in filter(_of_apps, _subclasses(base)):
            _judge_manager(owner)
