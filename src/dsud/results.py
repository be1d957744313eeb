"""The rows that a queryset keeps, or has read half: only the user whose they are may read them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from django.db.models import Model, query

from dsud.connections import key_of_alias
from dsud.context import refuse_unless_active
from dsud.replacements import put_into_place
from dsud.router import is_user_model
from dsud.stamps import JUDGED_FOR

T = TypeVar("T")

#: Where Django has the rows of an evaluated queryset, and where those of user models are kept.
RESULTS, KEPT = "_result_cache", "dsud_kept"


class Kept:
    """The rows that a queryset keeps after it was evaluated, and for whom it was."""

    __slots__ = ("owner", "rows", "what")

    def __init__(self, rows: list[object], owner: str, what: str) -> None:
        self.rows = rows
        self.owner = owner
        self.what = what

    def judged(self) -> list[object]:
        """Return the rows to the user whose they are; raise ``WrongUser`` for any other."""
        refuse_unless_active(self.owner, what=self.what)
        return self.rows

    def __reduce__(self) -> tuple[object, ...]:
        return Kept, (self.judged(), self.owner, self.what)

    def __deepcopy__(self, memo: object) -> None:
        """Keep nothing: the deep copy of a queryset is evaluated anew."""


class Rows:
    """Judges who reads the rows that a queryset keeps.

    They lie where Django does not look: an attribute of the queryset would be read without asking,
    and one that is asked each time costs every query a dozen calls, most of them for nothing.
    """

    def __get__(self, queryset: query.QuerySet[Model] | None, owner: type) -> object:
        if queryset is None:
            return self
        try:
            kept: Kept | None = queryset.__dict__[KEPT]
        except KeyError:
            raise AttributeError(RESULTS) from None
        return None if kept is None else kept.judged()


def keep(queryset: query.QuerySet[Model]) -> None:
    """Put the rows of an evaluated queryset of a user model where reading them is judged."""
    notes = queryset.__dict__
    rows, model = notes.get(RESULTS), queryset.model
    if rows is None or not is_user_model(model):
        return
    # That there are no rows is an answer, too, but ``.none()`` is free for everyone.
    if not rows and _is_none(queryset):
        return
    owner = queryset.query.__dict__.get(JUDGED_FOR) or key_of_alias(queryset.db)
    if owner is not None:
        meta = model._meta
        # Its label, which each queryset would ask for, and nearly none need.
        notes[KEPT] = Kept(rows, owner, f"A queryset of {meta.app_label}.{meta.object_name}")
        del notes[RESULTS]


def _is_none(queryset: query.QuerySet[Model]) -> bool:
    # A RawQuerySet's query is of another class.
    return bool(getattr(queryset.query, "is_empty", bool)())


def _guard_fetch(fetch: Callable[..., None]) -> Callable[..., None]:
    """Keep what was fetched, once."""

    @functools.wraps(fetch)
    def keeping(self: query.QuerySet[Model]) -> None:
        notes = self.__dict__
        has_kept = KEPT in notes and RESULTS not in notes and notes[KEPT] is not None
        if not has_kept or (self._prefetch_related_lookups and not self._prefetch_done):  # type: ignore[attr-defined]
            fetch(self)
            keep(self)

    return keeping


def _guard_iterator(iterator: Callable[..., Iterator[T]]) -> Callable[..., Iterator[T]]:
    """Judge who is active again before each further row, because rows are read many at a time."""

    @functools.wraps(iterator)
    def judged(self: query.QuerySet[Model], *args: object, **kwargs: object) -> Iterator[T]:
        rows = iterator(self, *args, **kwargs)
        return _each_row(self, rows) if is_user_model(self.model) else rows

    return judged


def _each_row(queryset: query.QuerySet[Model], rows: Iterator[T]) -> Iterator[T]:
    owner, what = key_of_alias(queryset.db), f"An iterator of {queryset.model._meta.label}"
    for row in rows:
        yield row
        if owner is not None:
            refuse_unless_active(owner, what=what)


def keep_prefetched(instances: Iterable[Model]) -> None:
    """Keep what was prefetched: Django gives those rows to querysets that it does not evaluate."""
    for instance in instances:
        for found in instance.__dict__.get("_prefetched_objects_cache", {}).values():
            if isinstance(found, query.QuerySet):
                keep(found)


def install() -> None:
    """Put the guards into Django; called once, when the apps are ready.

    What is private, and what breaks when it changes (seen on Django 5.2 to 6.1): an evaluated queryset
    answers from ``_result_cache``, which is read from the class where the queryset itself has none;
    ``_fetch_all`` evaluates it, and a ``RawQuerySet`` has both, too. If one goes, the rows that a
    queryset keeps are shown to whoever is active.
    """
    for queryset_class in (query.QuerySet, query.RawQuerySet):
        setattr(queryset_class, RESULTS, Rows())
        put_into_place(
            [
                (queryset_class, "_fetch_all", _guard_fetch),
                (queryset_class, "iterator", _guard_iterator),
            ]
        )
