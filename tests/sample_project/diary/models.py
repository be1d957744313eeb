"""Everybody's diary, with whatever Django has to tie rows together."""

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.utils import timezone


class Topic(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="topics")
    name = models.CharField(max_length=40)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "name"], name="one_topic_of_a_name")
        ]

    def __str__(self):
        return self.name


class Remark(models.Model):
    """A word on anything: on entries and on topics."""

    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="remarks")
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.PositiveBigIntegerField()
    target = GenericForeignKey()
    text = models.TextField()

    class Meta:
        ordering = ["pk"]
        indexes = [models.Index(fields=["content_type", "object_id"])]

    def __str__(self):
        return self.text


class Entry(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="entries")
    title = models.CharField(max_length=120)
    text = models.TextField(blank=True)
    written = models.DateTimeField(default=timezone.now)
    topics = models.ManyToManyField(Topic, related_name="entries", blank=True)
    remarks = GenericRelation(Remark, related_query_name="entry")

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return self.title


class Version(models.Model):
    """What an entry was before, or is; it stays when the entry, or its owner, goes."""

    entry_key = models.PositiveBigIntegerField(db_index=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.DO_NOTHING, related_name="+", db_constraint=False
    )
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    title = models.CharField(max_length=120)
    deleted = models.BooleanField(default=False)

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return f"{self.title}, gone" if self.deleted else self.title
