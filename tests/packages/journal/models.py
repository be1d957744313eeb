"""Entries whose every version is kept, with their moods."""

from django.conf import settings
from django.db import models
from simple_history.models import HistoricalRecords, HistoricForeignKey


class Mood(models.Model):
    name = models.CharField(max_length=40, unique=True)

    def __str__(self):
        return self.name


class Entry(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="entries")
    text = models.TextField()
    moods = models.ManyToManyField(Mood, blank=True)
    history = HistoricalRecords(m2m_fields=[moods])

    def __str__(self):
        return self.text


class Remark(models.Model):
    entry = HistoricForeignKey(Entry, models.CASCADE, related_name="remarks")
    text = models.TextField()
    history = HistoricalRecords(cascade_delete_history=True)

    def __str__(self):
        return self.text
