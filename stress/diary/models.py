"""Rows that say whose they are: the stamp is the first word of every text and name."""

from django.db import models

from dsud.router import shared_model


class Label(models.Model):
    """A word on entries."""

    name = models.CharField(max_length=80, unique=True)

    def __str__(self) -> str:
        return self.name


class Entry(models.Model):
    """A text; one with a token was written together with a receipt in ``default``."""

    text = models.TextField()
    token = models.CharField(max_length=80, blank=True, db_index=True)
    labels = models.ManyToManyField(Label, through="Marking")

    def __str__(self) -> str:
        return self.text


class Marking(models.Model):
    """A label on an entry."""

    entry = models.ForeignKey(Entry, models.CASCADE)
    label = models.ForeignKey(Label, models.CASCADE)
    stamp = models.CharField(max_length=40)

    def __str__(self) -> str:
        return self.stamp


@shared_model
class Receipt(models.Model):
    """What ``default`` remembers of an entry that was written in the same block."""

    token = models.CharField(max_length=80, unique=True)
    stamp = models.CharField(max_length=40)

    def __str__(self) -> str:
        return self.token
