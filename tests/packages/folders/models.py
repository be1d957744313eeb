"""Folders in folders."""

from django.conf import settings
from django.db import models
from mptt.models import MPTTModel, TreeForeignKey


class Folder(MPTTModel):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="folders")
    name = models.CharField(max_length=80)
    parent = TreeForeignKey("self", models.CASCADE, null=True, blank=True, related_name="children")

    class MPTTMeta:
        order_insertion_by = ["name"]

    def __str__(self):
        return self.name


class Paper(models.Model):
    folder = TreeForeignKey(Folder, models.CASCADE, related_name="papers")
    title = models.CharField(max_length=80)

    def __str__(self):
        return self.title
