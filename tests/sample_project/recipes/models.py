"""Everybody's own recipes."""

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone


class Course(models.Model):
    """When a dish is served: the same for everybody, from the first migration on."""

    name = models.CharField(max_length=40, unique=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return self.name


class Label(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="labels")
    name = models.CharField(max_length=40)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "name"], name="one_label_of_a_name")
        ]

    def __str__(self):
        return self.name


class Recipe(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="recipes")
    course = models.ForeignKey(Course, models.SET_NULL, null=True, blank=True)
    title = models.CharField(max_length=120)
    minutes = models.PositiveIntegerField(default=30)
    labels = models.ManyToManyField(Label, related_name="recipes", blank=True)
    changed = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["title"]

    def __str__(self):
        return self.title

    def get_absolute_url(self):
        return reverse("recipes:detail", args=[self.pk])


class Ingredient(models.Model):
    recipe = models.ForeignKey(Recipe, models.CASCADE, related_name="ingredients")
    name = models.CharField(max_length=60)
    grams = models.PositiveIntegerField()

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return f"{self.grams} g {self.name}"
