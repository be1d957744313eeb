"""Tags, history and trees by packages, and keys that are no numbers."""

import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models
from mptt.models import MPTTModel, TreeForeignKey
from simple_history.models import HistoricalRecords
from taggit.managers import TaggableManager
from treebeard.mp_tree import MP_Node


class Person(AbstractUser):
    """A user with a UUID."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)


class Paper(models.Model):
    """A paper with tags and history."""

    author = models.ForeignKey(Person, on_delete=models.CASCADE)
    title = models.CharField(max_length=50)
    tags = TaggableManager()
    history = HistoricalRecords()


class Page(models.Model):
    """A page with a key of its own kind."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    paper = models.ForeignKey(Paper, on_delete=models.CASCADE)
    text = models.TextField()
    after = models.ForeignKey("self", null=True, on_delete=models.CASCADE)


class Shelf(MP_Node):
    """A tree by paths."""

    owner = models.ForeignKey(Person, on_delete=models.CASCADE)
    name = models.CharField(max_length=50)


class Branch(MPTTModel):
    """A tree by numbers."""

    owner = models.ForeignKey(Person, on_delete=models.CASCADE)
    parent = TreeForeignKey("self", null=True, on_delete=models.CASCADE)
    name = models.CharField(max_length=50)
