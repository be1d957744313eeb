"""Notes whose owner is whoever the database belongs to."""

from benchmarks.diary.notes import BaseNote


class Note(BaseNote):
    """A note of the active user's."""
