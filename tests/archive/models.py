"""An app of users with the relations that the others lack: a key, one to one, an order, a child."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from django.conf import settings
from django.db import models
from django.utils.functional import cached_property


class FolderQuerySet(models.QuerySet["Folder"]):
    """What an app may ask of several folders, knowing of one only its key."""

    def after(self, folder: Folder) -> models.QuerySet[Folder]:
        """Return the folders that were made later."""
        return self.filter(pk__gt=folder.pk)

    def rename_all(self, folders: Iterable[Folder], *, name: str) -> int:
        """Give folders one name."""
        return self.filter(pk__in=[folder.pk for folder in folders]).update(name=name)


class FolderManager(models.Manager["Folder"]):
    """What an app may ask for a folder."""

    def sheets_of(self, folder: Folder) -> models.QuerySet[Sheet]:
        """Return the sheets that have the folder's key."""
        return Sheet.objects.filter(folder_id=folder.pk)

    async def acount_sheets(self, folder: Folder) -> int:
        """Return how many there are."""
        return await Sheet.objects.filter(folder_id=folder.pk).acount()


class Rebuilt:
    """An attribute that builds its object anew, of values that it has."""

    def __get__(self, instance: Folder | None, owner: type[Folder] | None = None) -> object:
        return self if instance is None else Folder(pk=instance.pk, name=instance.name)


class Folder(models.Model):
    """A folder of sheets."""

    name = models.CharField(max_length=50, unique=True)

    objects = FolderManager.from_queryset(FolderQuerySet)()

    def __str__(self) -> str:
        return self.name

    def delete(self, *args: object, **kwargs: object) -> tuple[int, dict[str, int]]:
        """Delete by the key, as some packages do."""
        return type(self).objects.filter(pk=self.pk).delete()

    def clear(self) -> None:
        """Delete the sheets that have the folder's key."""
        Sheet.objects.filter(folder_id=self.pk).delete()

    clear.alters_data = True  # type: ignore[attr-defined]

    def like_it(self) -> models.QuerySet[Sheet]:
        """Return the sheets that have the folder's key."""
        return Sheet.objects.filter(folder_id=self.pk)

    @property
    def first_sheet(self) -> Sheet | None:
        """Return the first of them."""
        return Sheet.objects.filter(folder_id=self.pk).first()

    @property
    def as_new(self) -> Folder:
        """Return a folder of the same key and name."""
        return Folder(pk=self.pk, name=self.name)

    @functools.cached_property
    def kept_sheet(self) -> Sheet | None:
        """Return the first of them, and keep it."""
        return self.first_of_key()

    @cached_property
    def kept_by_django(self) -> Sheet | None:
        """Return the first of them, and keep it."""
        return self.first_of_key()

    def first_of_key(self) -> Sheet | None:
        """Return the first of them."""
        return Sheet.objects.filter(folder_id=self.pk).first()

    #: As packages do that keep versions.
    rebuilt = Rebuilt()

    @property
    def myself(self) -> Folder:
        """Return what came with the object."""
        return self

    def initials(self) -> str:
        """Return what needs no database."""
        return self.name[0]


class Sheet(models.Model):
    """A sheet, which has its place in a folder."""

    folder = models.ForeignKey(Folder, on_delete=models.CASCADE)
    text = models.TextField()

    class Meta:
        order_with_respect_to = "folder"


class Draft(Sheet):
    """A child with a table of its own."""

    version = models.IntegerField(default=1)


class Opinion(models.Model):
    """What one user thinks of a book that everybody sees."""

    book = models.OneToOneField("library.Book", on_delete=models.DO_NOTHING)
    text = models.TextField()
    checked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
