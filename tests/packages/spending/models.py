"""What was spent on what."""

from django.conf import settings
from django.db import models


class Category(models.Model):
    name = models.CharField(max_length=40, unique=True)

    def __str__(self):
        return self.name


class Expense(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="expenses")
    category = models.ForeignKey(Category, models.PROTECT)
    text = models.CharField(max_length=80)
    amount = models.DecimalField(max_digits=8, decimal_places=2)

    def __str__(self):
        return self.text
