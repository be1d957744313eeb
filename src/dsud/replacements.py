"""What takes the place of parts of Django, each once, however often the apps are made ready."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

#: A class or a module, the name of what is replaced in it, and what makes the replacement of it.
Replacement: TypeAlias = tuple[object, str, Callable[..., Any]]

#: Not told by ``__wrapped__``, which whatever else wraps the same part has, too.
_in_place: set[tuple[object, str]] = set()


def put_into_place(replacements: Iterable[Replacement]) -> None:
    """Replace each part that is not replaced yet."""
    for owner, name, make in replacements:
        if (owner, name) not in _in_place:
            _in_place.add((owner, name))
            setattr(owner, name, make(getattr(owner, name)))
