"""Databases that nobody but their maker can reach yet: beside the user's place, or in memory for a test."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dsud.engines.ranges import KeyRange
from dsud.engines.sqlite import files, image
from dsud.engines.sqlite.paths import fan_and_name
from dsud.engines.staged import Rows, Staged
from dsud.exceptions import NotSupportedByEngine

if TYPE_CHECKING:
    from dsud.engines.sqlite.engine import Engine


class StagedFile(Staged):
    """A complete database file in a directory of its own, beside the user's place."""

    def __init__(self, engine: Engine, user_key: str) -> None:
        self._engine = engine
        self.user_key = user_key

    @cached_property
    def path(self) -> Path:
        """Where the file is; its directory is made when this is asked for."""
        return Path(self.name)

    @cached_property
    def name(self) -> str:
        """The same as text, because a path takes as long as to make the directory."""
        self._directory, self._newest = files.new_staging_directory(self._home())
        # Also when it is only forgotten, as a rolled-back transaction forgets its on_commit.
        self._discard = weakref.finalize(
            self, files.remove_staged, self._directory, pid=os.getpid()
        )
        return f"{self._directory}/{files.DATABASE}"

    def _home(self) -> str:
        """Return the directory of all databases that the user ever had; the lock has made it."""
        return f"{self._engine.root}/{fan_and_name(self.user_key)}"

    def publish(self) -> None:
        """Put the database in its user's place."""
        self._engine.staged.pop(self.user_key, None)
        files.publish(self._directory, self.user_key, newest=self._newest)
        self._discard.detach()

    def discard(self) -> None:
        """Remove what was built."""
        if self._engine.staged.get(self.user_key) is self:
            del self._engine.staged[self.user_key]
        if "name" in self.__dict__:
            self._discard()


class StagedToFill(StagedFile):
    """A file in rollback mode, which is put in WAL mode and synced once, when it is published."""

    syncs_at_publishing = True

    def publish(self) -> None:
        """Make the database durable, and put it in its user's place."""
        image.finish_filled(self.path)
        super().publish()


class StagedInMemory(StagedFile):
    """A database for a test: no file, one connection; only its user's own files have a directory."""

    def __init__(
        self,
        engine: Engine,
        user_key: str,
        template: bytes,
        *,
        rows: Iterable[Rows] = (),
        keys: KeyRange | None = None,
    ) -> None:
        super().__init__(engine, user_key)
        self.template = template
        self.rows = rows
        self.keys = keys

    def _home(self) -> str:
        home = super()._home()
        files.make_directory(home)
        return home

    def publish(self) -> None:
        """Refuse, because a test commits nothing."""
        raise NotSupportedByEngine(self._engine.alias, "publish a database that is in memory")


class StagedHere(threading.local):
    """What this thread has staged: nobody else may reach it before it is published."""

    #: Whether this thread has ever staged one, because to look for one in vain takes a call each.
    has_staged = False

    def __init__(self) -> None:
        self.files: weakref.WeakValueDictionary[str, StagedFile] = weakref.WeakValueDictionary()

    def add(self, staged: StagedFile) -> None:
        """Remember what was staged for as long as somebody has it."""
        self.has_staged = True
        self.files[staged.user_key] = staged
