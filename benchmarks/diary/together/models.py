"""Notes with a column that says whose they are."""

from django.conf import settings
from django.db import models

from benchmarks.diary.notes import BaseNote


class Note(BaseNote):
    """A note of its owner's."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)

    class Meta(BaseNote.Meta):
        abstract = False
        indexes = [models.Index(fields=["owner", "-id"])]
