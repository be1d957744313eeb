"""The two requests that are measured; the same code for every contender, but for the owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps
from django.http import JsonResponse

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from benchmarks.diary.notes import BaseNote

SHOWN = 20


def list_notes(request: HttpRequest) -> JsonResponse:
    """Answer with the user's newest notes."""
    rows = notes_of(request).values("pk", "title", "pinned", "created")[:SHOWN]
    return JsonResponse({"notes": list(rows)})


def create_note(request: HttpRequest) -> JsonResponse:
    """Write a note of the user's, and answer with its key."""
    note = notes_of(request).create(title="A new note", text="x" * 200, **owner_of(request))
    return JsonResponse({"pk": note.pk}, status=201)


def show_account(request: HttpRequest) -> JsonResponse:
    """Answer with who asks, which no note is needed for."""
    return JsonResponse({"name": request.user.get_username()})


def notes_of(request: HttpRequest) -> QuerySet[BaseNote]:
    """Return what the request may see."""
    return note_model().objects.filter(**owner_of(request))


def owner_of(request: HttpRequest) -> dict[str, object]:
    """Return what tells rows of the user who asks from others'."""
    return owned_by(request.user)


def owned_by(user: object) -> dict[str, object]:
    """Return what tells a user's rows from others', where that takes a column."""
    return {"owner": user} if apps.is_installed("benchmarks.diary.together") else {}


def note_model() -> type[BaseNote]:
    """Return the model that is installed."""
    label = "together" if apps.is_installed("benchmarks.diary.together") else "apart"
    return apps.get_model(label, "Note")
