"""The template files: built once among all processes, named by schema, replaced when it changes."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dsud.engines.sqlite import files, image

SUFFIX = ".sqlite3"


class Templates:
    """The templates below one directory."""

    def __init__(self, directory: Path, *, images: dict[str, bytes] | None = None) -> None:
        """``images`` has, or will have, those that were read, by their fingerprints."""
        self._directory = directory
        self._images = {} if images is None else images
        self._building = threading.Lock()
        self._builder: threading.Thread | None = None

    def _path(self, fingerprint: str) -> Path:
        return self._directory / f"{fingerprint}{SUFFIX}"

    def has(self, fingerprint: str) -> bool:
        """Tell whether the template is in memory, or sound on disk."""
        if fingerprint in self._images:
            return True
        try:
            self._images[fingerprint] = image.read_template(self._path(fingerprint))
        except sqlite3.Error:
            return False  # Missing or damaged: it is built again from the migrations.
        return True

    def read(self, fingerprint: str) -> bytes:
        """Return the template's bytes; it must have been built."""
        return self._images[fingerprint]

    def build(self, fingerprint: str, migrate: Callable[[dict[str, object]], None]) -> None:
        """Build the template aside and publish it by rename, unless another process did.

        Raises ``Locked`` when somebody else builds for too long, or this very thread does.
        """
        with self._alone(), files.locked_directory(self._directory):
            if self.has(fingerprint):
                return
            for leftover in self._directory.glob(f"{files.STAGED}*"):
                leftover.unlink()
            staged = self._directory / f"{files.STAGED}{secrets.token_hex(6)}{SUFFIX}"
            self._fill(staged, migrate)
            image.finish_template(staged, fingerprint)
            files.sync_file(staged)
            self._images[fingerprint] = image.read_template(staged)
            staged.rename(self._path(fingerprint))
            files.sync_directory(self._directory)
            self._remove_others(fingerprint)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads out, and this one: a migration may create users, who need a template."""
        if self._builder is threading.current_thread():
            raise files.Locked("the template that it would be cloned from is being built")
        if not self._building.acquire(timeout=files.LOCK_WAIT):
            raise files.Locked(f"its template is not built after {files.LOCK_WAIT:g} s")
        self._builder = threading.current_thread()
        try:
            yield
        finally:
            self._builder = None
            self._building.release()

    def _fill(self, staged: Path, migrate: Callable[[dict[str, object]], None]) -> None:
        os.close(files.open_private(staged, os.O_WRONLY | os.O_EXCL))
        image.prepare_template(staged)
        # Synced once at the end, because until then nobody needs it.
        migrate({"NAME": str(staged), "OPTIONS": {"init_command": "PRAGMA synchronous = OFF"}})

    def _remove_others(self, fingerprint: str) -> None:
        """Remove the templates of other schemas; a process that still needs one builds it again."""
        for path in self._directory.glob(f"*{SUFFIX}"):
            if path.stem != fingerprint:
                path.unlink(missing_ok=True)
