"""A recipe has changed when its ingredients have."""

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.utils import timezone

from .models import Ingredient


@receiver([post_save, post_delete], sender=Ingredient)
def touch_recipe(*, instance, **kwargs):
    instance.recipe.changed = timezone.now()
    instance.recipe.save(update_fields=["changed"])
