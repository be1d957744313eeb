"""An app of users with the relations that the others lack: a key, one to one, an order, a child."""

from django.db import models


class Folder(models.Model):
    """A folder of sheets."""

    name = models.CharField(max_length=50, unique=True)


class Sheet(models.Model):
    """A sheet, which has its place in a folder."""

    folder = models.ForeignKey(Folder, on_delete=models.CASCADE)
    text = models.TextField()

    class Meta:
        order_with_respect_to = "folder"


class Draft(Sheet):
    """A child with a table of its own."""

    version = models.IntegerField(default=1)


class Opinion(models.Model):
    """What one user thinks of a book that everybody sees."""

    book = models.OneToOneField("library.Book", on_delete=models.DO_NOTHING)
    text = models.TextField()
