"""Bookmarks with taggit's own tags, and clippings with tags of a model of their own."""

from django.conf import settings
from django.db import models
from taggit.managers import TaggableManager
from taggit.models import GenericTaggedItemBase, TagBase


class Bookmark(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="bookmarks")
    title = models.CharField(max_length=80)
    tags = TaggableManager(blank=True)

    def __str__(self):
        return self.title


class Topic(TagBase):
    pass


class Topical(GenericTaggedItemBase):
    tag = models.ForeignKey(Topic, models.CASCADE, related_name="items")


class Clipping(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="clippings")
    text = models.TextField()
    topics = TaggableManager(through=Topical, blank=True)

    def __str__(self):
        return self.text
