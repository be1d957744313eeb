"""A user app without migrations, whose keys to shared rows say each thing that on_delete can say."""

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models

from dsud import shared_model


def nobody() -> None:
    """Return what SET sets."""


class Bond(models.Model):
    """A key to a user, and a key to another shared row."""

    class Meta:
        abstract = True


class Cascading(Bond):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True)
    book = models.ForeignKey("library.Book", models.CASCADE, null=True)


class Nulling(Bond):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    book = models.ForeignKey("library.Book", models.SET_NULL, null=True)


class Defaulting(Bond):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_DEFAULT, null=True, default=None)
    book = models.ForeignKey("library.Book", models.SET_DEFAULT, null=True, default=None)


class Setting(Bond):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET(nobody), null=True)
    book = models.ForeignKey("library.Book", models.SET(nobody), null=True)


class Nothing(Bond):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.DO_NOTHING, null=True)
    book = models.ForeignKey("library.Book", models.DO_NOTHING, null=True)


class Protecting(Bond):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True)
    shelf = models.ForeignKey("bonds.Shelf", models.PROTECT, null=True)


class Restricting(Bond):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.RESTRICT, null=True)
    desk = models.ForeignKey("bonds.Desk", models.RESTRICT, null=True)


class Many(Bond):
    users = models.ManyToManyField(settings.AUTH_USER_MODEL)
    books = models.ManyToManyField("library.Book")


class Label(Bond):
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.PositiveIntegerField()
    content = GenericForeignKey()
    labels = GenericRelation("bonds.Label")
    notices = GenericRelation("bonds.Notice")


@shared_model
class Shelf(models.Model):
    """A shared row that user rows protect, and that goes with its user."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True)
    labels = GenericRelation(Label)


@shared_model
class Desk(models.Model):
    """A shared row that user rows restrict."""


@shared_model
class Notice(models.Model):
    """A shared row that points anywhere."""

    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.PositiveIntegerField()
    content = GenericForeignKey()
