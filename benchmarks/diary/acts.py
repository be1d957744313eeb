"""What users do outside of requests: list their notes, and write one; the same for every contender."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from benchmarks.diary.views import SHOWN, note_model, owned_by

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser


def listed(user: AbstractBaseUser) -> list[dict[str, object]]:
    """Return the user's newest notes; the block in which they are reached is open."""
    notes = note_model()._default_manager.filter(**owned_by(user))
    return list(notes.values("pk", "title", "pinned", "created")[:SHOWN])


def write(user: AbstractBaseUser) -> None:
    """Write a note of the user's; the block in which they are reached is open."""
    note_model()._default_manager.create(title="A new note", text="x" * 200, **owned_by(user))


def is_ours() -> bool:
    """Tell whether the site uses this package; a peer of the same name may be installed."""
    return str(getattr(settings, "WAY", "")).endswith(".ours")
