"""The books of the house, which all share."""

from django.db import models


class Book(models.Model):
    title = models.CharField(max_length=120, unique=True)
    pages = models.PositiveIntegerField()

    class Meta:
        ordering = ["title"]

    def __str__(self):
        return self.title
