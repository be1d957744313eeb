"""The files that moved rows name: copied into the directory of their user where they are kept there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from django.conf import settings
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.db import DEFAULT_DB_ALIAS
from django.db.models import FileField

from dsud.adoption.paths import AnyModel
from dsud.adoption.plan import Plan
from dsud.exceptions import UserDatabaseError

#: Bytes that are in memory at a time.
CHUNK = 1 << 20

#: The attribute of a storage that has a directory for each user.
OF_USERS = "has_directory_of_user"


#: What a file is called until it is complete; a run that is killed leaves one, and the next replaces it.
UNFINISHED = ".dsud-unfinished"


class FileNotMoved(UserDatabaseError):
    """Raised when a file that a row names is not there, or cannot be put where the user's files are."""


def source_storage(alias: str | None) -> Storage:
    """Return where files are before the split: a storage of ``STORAGES``, or ``MEDIA_ROOT``."""
    return FileSystemStorage(location=settings.MEDIA_ROOT) if alias is None else storages[alias]


def file_fields(plan: Plan) -> list[tuple[AnyModel, FileField]]:
    """Return the fields whose files each user has in a directory of their own."""
    return [
        (table.model, field)
        for table in plan.tables
        for field in table.model._meta.local_concrete_fields
        if isinstance(field, FileField) and getattr(field.storage, OF_USERS, False)
    ]


def copy_files(key: str, names: Iterator[tuple[FileField, str]], source: Storage) -> int:
    """Copy files into a user's directory, as that user, verified; return how many.

    A file that is there already stays if it is the same. Raises ``FileNotMoved``.
    """
    copied = 0
    for field, name in names:
        if not source.exists(name):
            raise FileNotMoved(
                key,
                f"The file {name!r} of user {key!r} is not where files are now. Bring it back, say"
                " with --files-from where files are, or empty the field in `default`.",
            )
        path = Path(field.storage.path(name))
        if not path.exists():
            _copy(source, name, path)
        if _digest(source, name) != _digest_of(path):
            raise FileNotMoved(
                key,
                f"The file {name!r} of user {key!r} is not the one that is in the user's directory."
                " Keep everybody from writing, and compare the two.",
            )
        copied += 1
    return copied


def _copy(source: Storage, name: str, path: Path) -> None:
    """Write a file durably, and give it its name when it is complete."""
    _make_private(path.parent)
    unfinished = path.with_name(path.name + UNFINISHED)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as target, source.open(name) as file:
        for chunk in file.chunks(CHUNK):
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
    unfinished.rename(path)


def _make_private(directory: Path) -> None:
    """Make a directory and those above it, which only the site's own system user may enter."""
    if not directory.is_dir():
        _make_private(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _digest(source: Storage, name: str) -> str:
    digest = hashlib.blake2b()
    with source.open(name) as file:
        for chunk in file.chunks(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def names_of(owner: object, plan: Plan, labels: Collection[str]) -> Iterator[tuple[FileField, str]]:
    """Yield the files that an owner's rows of some models in ``default`` name."""
    paths = {table.model: table.path for table in plan.tables if table.label in labels}
    for model, field in file_fields(plan):
        if model not in paths:
            continue
        rows = paths[model].rows(model, owner, DEFAULT_DB_ALIAS).exclude(**{field.name: ""})
        names = rows.filter(**{f"{field.name}__isnull": False}).values_list(field.name, flat=True)
        for name in names.iterator():
            yield field, str(name)
