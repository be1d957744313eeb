"""Notes whose owner is whoever the database belongs to."""

from benchmarks.diary.apart.shelves import make_models
from benchmarks.diary.notes import BaseNote

globals().update(make_models(__name__))


class Note(BaseNote):
    """A note of the active user's."""
