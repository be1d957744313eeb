"""A user app without migrations, whose definitions have parts that print differently each time."""

import uuid

from django.core.validators import RegexValidator
from django.db import models


class Leaf(models.Model):
    """A row with defaults and constraints of every kind."""

    code = models.UUIDField(default=uuid.uuid4)
    name = models.CharField(max_length=20, validators=[RegexValidator("^[a-z]*$")])
    place = models.IntegerField(default=0)

    class Meta:
        unique_together = [("name", "place"), ("code", "name"), ("code", "place")]
        indexes = [models.Index(fields=["place"], name="leaf_place")]
