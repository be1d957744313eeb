"""For whom a query is built, noted on the query itself, so that it travels wherever the query goes."""

from __future__ import annotations

import _frozen_importlib
import inspect
import sys
from collections.abc import Mapping
from types import FrameType

from django.db.models import Model
from django.db.models.sql import Query

from dsud.context import Activation, current_entry
from dsud.exceptions import WrongUser
from dsud.router import is_user_model, owner_of

#: Where a query keeps its own stamp: None until somebody is active, False for shared models.
STAMP = "dsud_stamp"

#: Where it keeps the stamps of what it is filtered by, combined with or set to.
VALUES = "dsud_stamps_of_values"

#: Where it keeps for whose database it was last compiled; what is noted later is judged at once.
JUDGED_FOR = "dsud_judged_for"


class Stamp:
    """For whom a query was built; what travels with its clones, pickles and subqueries."""

    __slots__ = ("_activation", "_key")

    def __init__(self, activation: Activation | None, key: str | None) -> None:
        self._activation = activation
        self._key = key

    def key(self) -> str | None:
        """Return the key of the user; a request's is resolved only now."""
        if self._key is None and self._activation is not None:
            self._key = self._activation.key()
        return self._key

    def __reduce__(self) -> tuple[object, ...]:
        return Stamp, (None, self.key())


#: The locks of all modules that are being imported, which importlib keeps since Python 3.3; without
#: them, each query would look whether its module is.
_IMPORTS: Mapping[str, object] = getattr(_frozen_importlib, "_module_locks", {"unknown": None})


def _new_stamp() -> Stamp | None:
    entry = current_entry()
    # Looked at first, because a query is built without an import nearly always.
    if entry is None or (_IMPORTS and _is_being_imported()):
        return None
    # A glance asks nobody: a queryset may be built where no query may be made, or for nobody.
    return Stamp(entry.activation, entry.activation.glance())


def _is_being_imported() -> bool:
    """Tell whether a module or class body builds the query while its module is imported.

    Django imports the URLconf, and with it the views, inside the first request: what they build
    for their classes is for nobody. ``_initializing`` is how importlib marks a module until then.
    """
    frame: FrameType | None = sys._getframe(3)
    for _ in range(12):
        if frame is None:
            break
        if not frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # No function.
            spec = frame.f_globals.get("__spec__")
            return bool(getattr(spec, "_initializing", False))
        frame = frame.f_back
    return False


def stamp(query: Query) -> None:
    """Note on a query of a user model for whom it is built, unless that is noted already."""
    notes = query.__dict__
    if STAMP not in notes or notes[STAMP] is None:
        model = query.model
        is_users = model is not None and is_user_model(model)
        notes[STAMP] = _new_stamp() if is_users else False


def note(query: Query, *stamps: Stamp) -> None:
    """Note for whom something was made that the query is filtered by or set to."""
    query.__dict__[VALUES] = (*query.__dict__.get(VALUES, ()), *stamps)


def note_value(query: Query, value: object) -> None:
    """Note whose object a value is: afterwards only its primary key is left.

    Raises ``WrongUser`` when the query is being compiled for another user already.
    """
    if isinstance(value, Model) and (owner := owner_of(value)) is not None:
        judged_for = query.__dict__.get(JUDGED_FOR, owner)
        if judged_for != owner:
            raise WrongUser(owner=owner, active=judged_for, what="A value in a query")
        note(query, Stamp(None, owner))
