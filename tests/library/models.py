"""An app of which one model lives in user databases and two do not."""

from django.conf import settings
from django.db import models


class Book(models.Model):
    """A book that everybody sees."""

    title = models.CharField(max_length=100)


class Loan(models.Model):
    """What one user borrowed: keys to two shared models."""

    book = models.ForeignKey(Book, on_delete=models.DO_NOTHING)
    reader = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
