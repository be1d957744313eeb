"""Who the active user is, here and now, and how to become another for a block."""

from __future__ import annotations

import functools
import uuid
from abc import abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import ParamSpec, Protocol, TypeAlias, TypeVar, cast

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.signals import setting_changed
from django.db.models import Field, Model

from dsud import stepwise
from dsud.connections import alias_of, held, release
from dsud.exceptions import InvalidUserKey, NoActiveUser, WrongUser
from dsud.leases import AnyLease, Force

P = ParamSpec("P")
R = TypeVar("R")

#: The primary key of a user, as Django gives it.
UserId: TypeAlias = int | str | uuid.UUID


def user_key(user: Model | UserId) -> str:
    """Return the key of a user's database: the primary key as text.

    Takes a user or a primary key. Raises ``InvalidUserKey`` for users who are not saved or are
    anonymous, for other models' instances, and for values that no primary key can have.
    """
    return key_of(user, getattr(user, "pk", user))


def key_of(user: object, value: object) -> str:
    """Return the same of a user whose primary key was read already."""
    if isinstance(user, Model) and not isinstance(user, _user_class()):
        raise InvalidUserKey(user, f"it is no {_user_class().__name__}")
    if value is None:
        raise InvalidUserKey(user, "it has no primary key; save the user first")
    if type(value) is not int and (
        isinstance(value, bool) or not isinstance(value, (int, str, uuid.UUID))
    ):
        raise InvalidUserKey(user, "a key is an integer, a string or a UUID")
    try:
        return _as_text(value)
    except ValidationError:
        kind = type(primary_key_field()).__name__
        raise InvalidUserKey(user, f"it is no {kind}") from None


@functools.lru_cache(maxsize=1024, typed=True)
def _as_text(value: int | str | uuid.UUID) -> str:
    # As text, because a number and a UUID can each be read as the other.
    return str(primary_key_field().to_python(str(value)))


# Both are asked in each request, and finding a model takes Django longer than all else here.


@functools.cache
def _user_class() -> type[Model]:
    return cast("type[Model]", get_user_model()._meta.concrete_model)


@functools.cache
def primary_key_field() -> Field[object, object]:
    """Return the field that gives users their keys, also when the user model extends another."""
    return _primary_key_of_users(settings.AUTH_USER_MODEL)


@functools.cache
def _primary_key_of_users(user_model: str) -> Field[object, object]:
    """Remember it by the setting, because it is asked for whenever somebody becomes active."""
    field = get_user_model()._meta.pk
    while field.remote_field is not None:
        field = field.remote_field.model._meta.pk
    return cast("Field[object, object]", field)


def forget_user_model(*, setting: str, **kwargs: object) -> None:
    """Find the model of users anew after a setting that decides it has changed."""
    if setting in ("AUTH_USER_MODEL", "INSTALLED_APPS"):
        _user_class.cache_clear()
        primary_key_field.cache_clear()
        _as_text.cache_clear()


setting_changed.connect(forget_user_model, dispatch_uid="dsud.context.forget_user_model")


class Activation:
    """One answer to "who is active?", given from the start."""

    __slots__ = ("_alias", "_key")

    def __init__(self, *, key: str | None = None) -> None:
        self._key = key
        self._alias = None if key is None else alias_of(key)

    def key(self) -> str | None:
        """Return the key of the active user, or None when nobody is active."""
        return self._key

    def alias(self) -> str | None:
        """Return the alias of the active user's connection, or None when nobody is active."""
        return self._alias

    def glance(self) -> str | None:
        """Return the key if it is known without asking anybody; used where nothing may be asked."""
        return self._key


class AskedActivation(Activation):
    """An answer that is asked for each time, because a view may log somebody in or out."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        #: A pair in one place, because the threads of one request share it.
        self._last: tuple[str | None, str | None] = (None, None)

    @abstractmethod
    def key(self) -> str | None:
        """Return the key of the active user, or None when nobody is active."""

    def glance(self) -> str | None:
        """Return None, unless a kind of activation can tell the key without asking anybody."""
        return None

    def alias(self) -> str | None:
        """Return the alias of the active user's connection; the last answer spares building it."""
        last = self._last
        if (key := self.key()) != last[0]:
            last = self._last = key, None if key is None else alias_of(key)
        return last[1]


class TemporaryActivation(Activation):
    """A database of the engine that is no user's, such as a template while it is built."""

    __slots__ = ()

    def __init__(self, alias: str) -> None:
        super().__init__()
        self._alias = alias


class Entry:
    """A block that was entered: what it activates, the block around it, what was leased before."""

    __slots__ = ("activation", "block", "leased", "previous")

    def __init__(self, block: Block, previous: Entry | None, leased: frozenset[AnyLease]) -> None:
        self.activation = block.activation
        self.block = block
        self.leased = leased
        self.previous = previous


_active: ContextVar[Entry | None] = ContextVar("dsud_active", default=None)

#: Returns the innermost block that is entered here; asked where a function around it took too long.
current_entry = _active.get


def current_activation() -> Activation | None:
    """Return what is active in this context."""
    entry = _active.get()
    return None if entry is None else entry.activation


class StandIn(Protocol):
    """Who is taken for the active user where nobody is: in tests only, never in production."""

    def activation(self) -> Activation | None:
        """Return who stands in, or None when nobody does."""

    def alias_for(self, model: type[Model], row: Model | None) -> str | None:
        """Return the alias where the router sends a user model, or None to raise ``NoActiveUser``."""


#: Set by what runs tests; a request, or a thread that a test starts, has none.
stand_in: ContextVar[StandIn | None] = ContextVar("dsud_stand_in", default=None)


def _acting() -> Activation | None:
    """Return what is active, or stands in."""
    activation = current_activation()
    if activation is None and (standing := stand_in.get()) is not None:
        return standing.activation()
    return activation


def active_key() -> str | None:
    """Return the key of the active user, or None when nobody is active."""
    activation = _acting()
    return None if activation is None else activation.key()


def entered_key() -> str | None:
    """Return the key of the active user, or None; who stands in for one in a test does not count."""
    activation = current_activation()
    return None if activation is None else activation.key()


def active_alias() -> str:
    """Return the alias of the active user's connection; raise ``NoActiveUser`` without one."""
    activation = _acting()
    alias = None if activation is None else activation.alias()
    if alias is None:
        raise NoActiveUser
    return alias


def refuse_unless_active(owner: str, *, what: str = "A connection") -> None:
    """Raise ``WrongUser`` for what is one user's while another is active.

    Raises ``NoActiveUser`` in the request of a visitor who is not logged in. Outside of requests
    and blocks everything is allowed, because an operator's code names the alias itself.
    """
    entry = _active.get()
    if entry is not None and (active := entry.activation.key()) != owner:
        if active is None:
            raise NoActiveUser
        raise WrongUser(owner=owner, active=active, what=what)


def current_user_id() -> UserId | None:
    """Return the primary key of the active user, or None when nobody is active."""
    key = active_key()
    return None if key is None else cast("UserId", primary_key_field().to_python(key))


class unchanged:  # noqa: N801, because it reads as a phrase
    """See to it that whoever is active before a block is so after it, whatever happens inside."""

    def __enter__(self) -> None:
        self._before = _active.get()

    def __exit__(self, *raised: object) -> None:
        _active.set(self._before)


class outside:  # noqa: N801, because it reads as a phrase
    """Have nobody active for a block, and nobody stand in, as at the start of a request."""

    def __enter__(self) -> None:
        self._before = _active.get(), stand_in.get()
        _active.set(None)
        stand_in.set(None)

    def __exit__(self, *raised: object) -> None:
        active, standing = self._before
        _active.set(active)
        stand_in.set(standing)


class Block:
    """A block of code in which an activation is current: the base of ``use_user``.

    Nothing about being entered is kept on the instance, so threads and tasks may share it,
    and blocks may be left in any order, as suspended generators do.
    """

    def __init__(self, activation: Activation, *, releases: bool = True) -> None:
        self.activation = activation
        self._releases = releases

    def __enter__(self) -> None:
        _active.set(Entry(self, _active.get(), held() if self._releases else frozenset()))

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        entry = around = _active.get()
        if entry is not None and entry.block is self:
            around = entry.previous
            _active.set(around)
        else:
            entry = _take_out(self, entry)
        if not self._releases:
            return
        if around is None:
            # Not what was leased before: an operator may be iterating over it around this block.
            release(untouched=frozenset() if entry is None else entry.leased)
        elif around.activation.glance() != self.activation.glance():
            # What is idle, because the same key may be another user's when it is active again.
            release(force=Force.NOTHING)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc_value, traceback)


def _take_out(block: Block, entry: Entry | None) -> Entry | None:
    """Remove a block that is left before those entered inside it, and return its entry."""
    while entry is not None and (previous := entry.previous) is not None:
        if previous.block is block:
            entry.previous = previous.previous
            return previous
        entry = previous
    return None


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
        return stepwise.run_inside(function, self, Block(self.activation, releases=False))
