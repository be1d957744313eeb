from django.apps import AppConfig
from django.db import router
from django.db.models.signals import post_migrate


def shelve_books(*, using, **kwargs):
    """Put the books on the shelf that every household has."""
    from .models import Book

    if router.allow_migrate_model(using, Book):
        for title, pages in (("Emma", 474), ("Moby Dick", 635), ("Walden", 352)):
            Book.objects.using(using).get_or_create(title=title, defaults={"pages": pages})


class LibraryConfig(AppConfig):
    name = "library"

    def ready(self):
        post_migrate.connect(shelve_books, sender=self)
