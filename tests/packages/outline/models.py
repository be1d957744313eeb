"""A tree of each kind that treebeard has."""

from django.conf import settings
from django.db import models
from treebeard.al_tree import AL_Node
from treebeard.mp_tree import MP_Node
from treebeard.ns_tree import NS_Node


class Section(MP_Node):
    """A node with a materialized path."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="sections")
    title = models.CharField(max_length=80)

    def __str__(self):
        return self.title


class Period(NS_Node):
    """A node in nested sets."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="periods")
    title = models.CharField(max_length=80)

    def __str__(self):
        return self.title


class Branch(AL_Node):
    """A node in an adjacency list."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="branches")
    title = models.CharField(max_length=80)
    parent = models.ForeignKey(
        "self", models.CASCADE, null=True, db_index=True, related_name="children_set"
    )
    sib_order = models.PositiveIntegerField()

    def __str__(self):
        return self.title
