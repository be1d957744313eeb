"""Each version of an entry is kept, also of one that goes."""

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from .models import Entry, Version


@receiver([post_save, post_delete], sender=Entry)
def keep_version(*, instance, signal, **kwargs):
    Version.objects.create(
        entry_key=instance.pk,
        owner_id=instance.owner_id,
        changed_by=getattr(instance, "changed_by", None),
        title=instance.title,
        deleted=signal is post_delete,
    )
