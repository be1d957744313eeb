"""Other models of the same users: a proxy, and two that extend them with a table of their own."""

from django.contrib.auth.models import User
from django.db import models


class Guest(User):
    """A proxy."""

    class Meta:
        proxy = True


class Editor(User):
    """A child."""

    desk = models.CharField(max_length=20, default="news")


class Chief(Editor):
    """A child of a child."""

    car = models.CharField(max_length=20, default="red")
