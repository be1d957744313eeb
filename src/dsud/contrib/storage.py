"""Files of users, kept beside their databases: deleted, exported and backed up with them."""

from __future__ import annotations

import os
from mimetypes import guess_type
from pathlib import Path, PurePosixPath
from typing import ClassVar

from django.core.files.storage import FileSystemStorage, Storage
from django.db.models.fields.files import FieldFile
from django.http import FileResponse, Http404, HttpRequest
from django.utils.cache import add_never_cache_headers
from django.views import View

from dsud import guards
from dsud.context import active_key
from dsud.engines import engine
from dsud.exceptions import NoActiveUser


class UserFileStorage(FileSystemStorage):
    """Files in the active user's own directory; raises ``NoActiveUser`` without one.

    ``base_url`` is where the project serves ``UserFileView``; without it files have no URL.
    The same URL means another file for another user.
    """

    #: By this a split knows that files have to be moved along with the rows that name them.
    has_directory_of_user: ClassVar[bool] = True

    def __init__(self, *, base_url: str | None = None, allow_overwrite: bool = False) -> None:
        self._is_served = base_url is not None
        super().__init__(
            base_url=base_url,
            # As the databases: for nobody but the site's own system user.
            file_permissions_mode=0o600,
            directory_permissions_mode=0o700,
            allow_overwrite=allow_overwrite,
        )

    @property
    def base_location(self) -> Path:
        """Return the active user's directory."""
        key = active_key()
        if key is None:
            raise NoActiveUser(
                "No user is active, so there is no directory of files to reach. Log in, or wrap the"
                " code in `with dsud.use_user(user):`."
            )
        return engine().files_directory(key)

    @property
    def location(self) -> str:
        """Return the absolute path of the active user's directory."""
        return os.path.abspath(self.base_location)  # noqa: PTH100, because Django's does the same

    def url(self, name: str | None) -> str:
        """Return where ``UserFileView`` serves a file; raise ``ValueError`` without ``base_url``."""
        if not self._is_served:
            raise ValueError("These files have no URL: give the storage a base_url.")
        return super().url(name)


class StorageOfOwner:
    """The ``storage`` of a file field's value, guarded: the value belongs to an object of a user.

    A storage is told a file's name only, and two users may have files of the same name.
    """

    def __get__(self, file: FieldFile | None, owner: type[FieldFile]) -> object:
        if file is None:
            return self
        storage: Storage = vars(file)["storage"]
        if isinstance(storage, UserFileStorage):
            guards.refuse_foreign([file.instance])
        return storage

    def __set__(self, file: FieldFile, storage: Storage) -> None:
        vars(file)["storage"] = storage


# Every value of every file field, because a class of fields of our own would be forgotten. Django's
# own code and that of other packages reads this attribute before it touches a file (5.2 to 6.1);
# if it goes, test_storage says that another user's object reads the active user's file.
FieldFile.storage = StorageOfOwner()  # type: ignore[assignment]


class UserFileView(View):
    """Serve the files of the active user; no address reaches another's."""

    storage = UserFileStorage()

    #: What a browser may show; all else is saved, because a page would run on this site.
    shown: ClassVar[frozenset[str]] = frozenset(
        {"image/avif", "image/gif", "image/jpeg", "image/png", "image/webp", "text/plain"}
    )

    def get(self, request: HttpRequest, name: str) -> FileResponse:
        """Send the file of this name; raise ``Http404`` when there is none."""
        # With os.path, because it answers for names, too, that no file can have.
        if not os.path.isfile(self.storage.path(name)):  # noqa: PTH113
            raise Http404(f"You have no file {name!r}.")
        kind, encoding = guess_type(name)
        response = FileResponse(
            self.storage.open(name),
            as_attachment=kind not in self.shown or encoding is not None,
            filename=PurePosixPath(name).name,
        )
        # Because the next user of this browser has another file at the same address.
        add_never_cache_headers(response)
        response["Content-Security-Policy"] = "sandbox; default-src 'none'"
        response["X-Content-Type-Options"] = "nosniff"
        return response
