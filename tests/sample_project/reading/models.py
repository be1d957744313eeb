"""Who reads what, and how far."""

from django.conf import settings
from django.db import models


class Reading(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="readings")
    book = models.ForeignKey("library.Book", models.CASCADE, related_name="+")
    page = models.PositiveIntegerField(default=0)
    finished = models.DateField(null=True, blank=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "book"], name="one_reading_of_each_book")
        ]

    def __str__(self):
        return f"{self.book}, page {self.page}"

    @property
    def percent(self):
        return 100 * self.page // self.book.pages
