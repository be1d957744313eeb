"""A user app with a history: data migrations, tables that are rebuilt, keys to shared models."""

from django.conf import settings
from django.db import models


class Shelf(models.Model):
    """What the migrations end with."""

    name = models.CharField(max_length=50, unique=True)
    room = models.IntegerField(null=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.DO_NOTHING, null=True)
    readers = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")


class Item(models.Model):
    """A row with a key inside the user's database."""

    shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE)
