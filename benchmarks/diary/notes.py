"""What a note is, wherever its row lies."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models


class BaseNote(models.Model):
    """A note, without its owner."""

    title = models.CharField(max_length=100)
    text = models.TextField(blank=True)
    pinned = models.BooleanField(default=False)
    created = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[Self]] = models.Manager()

    class Meta:
        abstract = True
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.title
