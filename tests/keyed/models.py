"""Users whose primary key is their name, so that keys are issued again and may be anything."""

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models


class Person(AbstractBaseUser):
    """A user."""

    name = models.CharField(max_length=400, primary_key=True)

    USERNAME_FIELD = "name"

    objects = BaseUserManager()


class Author(Person):
    """A user with a table of its own beside that of users."""

    pen_name = models.CharField(max_length=20, default="")
