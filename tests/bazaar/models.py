"""An app with models of both sides and a history: renamed models, data migrations, SQL."""

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Stand(models.Model):
    """A place that everybody sees."""

    name = models.CharField(max_length=50)


class Label(models.Model):
    """A word of one user's, on anything."""

    name = models.CharField(max_length=50)
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE, null=True)
    object_id = models.PositiveIntegerField(null=True)
    target = GenericForeignKey()


class Ware(models.Model):
    """What one user sells at a stand."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    stand = models.ForeignKey(Stand, on_delete=models.CASCADE)
    title = models.CharField(max_length=100)
    slug = models.CharField(max_length=20, default="")
    helper = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="helped"
    )
    labels = GenericRelation(Label)
