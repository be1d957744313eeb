"""An app that lives in user databases as a whole."""

from django.db import models


class Tag(models.Model):
    """A word on notes."""

    name = models.CharField(max_length=50, unique=True)


class Note(models.Model):
    """A note, with its tags."""

    text = models.TextField()
    tags = models.ManyToManyField(Tag)

    def __str__(self) -> str:
        return self.text


class Loud(Note):
    """A proxy, which lives where its model does."""

    class Meta:
        proxy = True
