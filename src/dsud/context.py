"""Who the active user is, here and now, and how to become another for a block."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import ParamSpec, TypeAlias, TypeVar, cast

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import Field, Model

from dsud import stepwise
from dsud.connections import alias_of, release
from dsud.exceptions import InvalidUserKey, NoActiveUser

P = ParamSpec("P")
R = TypeVar("R")

#: The primary key of a user, as Django gives it.
UserId: TypeAlias = int | str | uuid.UUID


def user_key(user: Model | UserId) -> str:
    """Return the key of a user's database: the primary key as text.

    Takes a user or a primary key. Raises ``InvalidUserKey`` for users who are not saved or are
    anonymous, for other models' instances, and for values that no primary key can have.
    """
    value: object = user
    if hasattr(user, "pk"):
        if isinstance(user, Model) and not isinstance(user, _user_class()):
            raise InvalidUserKey(user, f"it is no {_user_class().__name__}")
        value = user.pk
    if value is None:
        raise InvalidUserKey(user, "it has no primary key; save the user first")
    if isinstance(value, bool) or not isinstance(value, (int, str, uuid.UUID)):
        raise InvalidUserKey(user, "a key is an integer, a string or a UUID")
    try:
        return str(primary_key_field().to_python(value))
    except ValidationError:
        kind = type(primary_key_field()).__name__
        raise InvalidUserKey(user, f"it is no {kind}") from None


def _user_class() -> type[Model]:
    return cast("type[Model]", get_user_model()._meta.concrete_model)


def primary_key_field() -> Field[object, object]:
    """Return the field that gives users their keys, also when the user model extends another."""
    field = get_user_model()._meta.pk
    while field.remote_field is not None:
        field = field.remote_field.model._meta.pk
    return cast("Field[object, object]", field)


class Activation:
    """One answer to "who is active?": given from the start, or asked for each time."""

    __slots__ = ("_find", "_key", "alias")

    def __init__(
        self, *, key: str | None = None, find: Callable[[], str | None] | None = None
    ) -> None:
        self._key = key
        self._find = find
        self.alias = None if key is None else alias_of(key)

    def key(self) -> str | None:
        """Return the key of the active user, or None when nobody is active.

        What ``find`` says is never remembered, because a view may log somebody in or out.
        """
        if self._find is not None:
            key = self._find()
            if key != self._key:
                self._key = key
                self.alias = None if key is None else alias_of(key)
        return self._key


class TemporaryActivation(Activation):
    """A database of the engine that is no user's, such as a template while it is built."""

    __slots__ = ()

    def __init__(self, alias: str) -> None:
        super().__init__()
        self.alias = alias


class _Entry:
    """A block that was entered: what it activates, and the block around it."""

    __slots__ = ("activation", "block", "previous")

    def __init__(self, activation: Activation, block: object, previous: _Entry | None) -> None:
        self.activation = activation
        self.block = block
        self.previous = previous


_active: ContextVar[_Entry | None] = ContextVar("dsud_active", default=None)


def current_activation() -> Activation | None:
    """Return what is active in this context."""
    entry = _active.get()
    return None if entry is None else entry.activation


def active_key() -> str | None:
    """Return the key of the active user, or None when nobody is active."""
    activation = current_activation()
    return None if activation is None else activation.key()


def active_alias() -> str:
    """Return the alias of the active user's connection; raise ``NoActiveUser`` without one."""
    activation = current_activation()
    if activation is not None:
        activation.key()
        if activation.alias is not None:
            return activation.alias
    raise NoActiveUser


def current_user_id() -> UserId | None:
    """Return the primary key of the active user, or None when nobody is active."""
    key = active_key()
    return None if key is None else cast("UserId", primary_key_field().to_python(key))


class Block:
    """A block of code in which an activation is current: the base of ``use_user``.

    Nothing about being entered is kept on the instance, so threads and tasks may share it,
    and blocks may be left in any order, as suspended generators do.
    """

    def __init__(self, activation: Activation, *, releases: bool = True) -> None:
        self._activation = activation
        self._releases = releases

    def __enter__(self) -> None:
        _active.set(_Entry(self._activation, self, _active.get()))

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        entry = _active.get()
        if entry is not None and entry.block is self:
            _active.set(entry.previous)
        else:
            _take_out(self, entry)
        if self._releases and _active.get() is None:
            release()

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc_value, traceback)


def _take_out(block: Block, entry: _Entry | None) -> None:
    """Remove a block that is left before those entered inside it."""
    while entry is not None and entry.previous is not None:
        if entry.previous.block is block:
            entry.previous = entry.previous.previous
            return
        entry = entry.previous


class use_user(Block):  # noqa: N801, because it reads as a function
    """Make a user the active one for a block.

    Takes a user or a primary key; works as ``with``, ``async with`` and decorator; nests, and
    whoever was active before is so again afterwards, also after an exception.
    Raises ``InvalidUserKey``.
    """

    def __init__(self, user: Model | UserId) -> None:
        super().__init__(Activation(key=user_key(user)))

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Run a function, coroutine function, generator or asynchronous generator as the user."""
        return stepwise.run_inside(function, self, Block(self._activation, releases=False))
