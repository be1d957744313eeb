"""What worker processes do that start afresh: it must be found in a module."""

import os

from tests.notes.models import Note


def note_count(key: str) -> tuple[int, int]:
    """Return how many notes a user has, and who has counted."""
    return Note.objects.count(), os.getpid()
