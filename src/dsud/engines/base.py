"""The contract of an engine: where the bytes of user databases live."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

from django.core.checks import CheckMessage

from dsud.conf import EngineSettings
from dsud.engines.abilities import Abilities
from dsud.engines.hooks import Hooks
from dsud.engines.ranges import KeyRange
from dsud.engines.staged import Rows, Staged


class BaseEngine(Hooks, Abilities):
    """Where user databases live, asked per user; nothing else knows what they are made of.

    What an engine must answer is here; what it may be able to do besides is in ``Abilities``.
    """

    #: The module with the Django database backend, as in ``DATABASES["..."]["ENGINE"]``. Its connections
    #: lease what they open from ``dsud.pool.pool``, call those of ``Hooks``, and constrain no key that
    #: ``router.allow_migrate(..., constrained=key)`` denies, because its target is in ``default``;
    #: settings without ``USER_KEY`` are of a template, which is nobody's.
    backend: ClassVar[str]

    def __init__(self, alias: str, settings: EngineSettings) -> None:
        self.alias = alias
        self.options = dict(settings.get("OPTIONS", {}))

    @abstractmethod
    def database_settings(self, user_key: str) -> dict[str, object]:
        """Return the entries that ``DATABASES`` would need for the user's database.

        Raises ``InvalidUserKey`` when the key can name no database.
        """

    @abstractmethod
    def exists(self, user_key: str) -> bool:
        """Tell whether a complete database is in the user's place.

        Raises ``UserDatabaseUnavailable`` when the place is out of reach, as on a failing disk, and
        ``InvalidUserKey`` as above.
        """

    @abstractmethod
    def keys(self) -> Iterator[str]:
        """Yield the key of each user who has a database, in no particular order."""

    @abstractmethod
    def size(self, user_key: str) -> int:
        """Return the bytes that the user's database takes.

        Raises ``UserDatabaseDoesNotExist``.
        """

    @abstractmethod
    def lock(self, user_key: str) -> AbstractContextManager[None]:
        """Keep every other process and thread from making, migrating or deleting the database.

        Raises ``UserDatabaseUnavailable`` when somebody else keeps it for too long, or the
        location is not initialized: a lost mount gets not even a lock.
        """

    @abstractmethod
    def has_template(self, fingerprint: str) -> bool:
        """Tell whether a template with this schema fingerprint is ready."""

    @abstractmethod
    def build_template(
        self, fingerprint: str, migrate: Callable[[dict[str, object]], None]
    ) -> None:
        """Make the template once: ``migrate`` gets the settings of an empty database and fills it.

        Raises ``OSError`` when the disk cannot take it, or somebody else builds for too long.
        """

    @abstractmethod
    def stage(
        self,
        user_key: str,
        fingerprint: str,
        *,
        rows: Iterable[Rows] = (),
        keys: KeyRange | None = None,
    ) -> Staged:
        """Clone the template for a user, aside, and put rows in it; the caller holds ``lock(user_key)``.

        ``keys``, only given to an engine that ``supports_distinct_keys``, is as for ``begin_keys``.
        Raises ``OSError`` when the disk cannot take it.
        """

    @abstractmethod
    def staged_here(self, user_key: str) -> Staged | None:
        """Return what this thread has staged for a user: it opens that, and nobody else may."""

    @abstractmethod
    def delete(self, user_key: str) -> None:
        """Move the user's database to the trash; its place is never used again.

        The caller holds ``lock(user_key)``. Raises ``UserDatabaseDoesNotExist``.
        """

    @abstractmethod
    def is_initialized(self) -> bool:
        """Tell whether the location is one that user databases were put in before.

        A lost mount answers no, so that nothing is made anew on the empty directory below it.
        """

    @abstractmethod
    def initialize(self) -> None:
        """Make the location ready for its first user database."""

    @abstractmethod
    def check(self) -> list[CheckMessage]:
        """Return what is wrong with the engine's settings, in the manner of ``manage.py check``."""

    # What follows from these, unless an engine knows better

    def serves(self, user_key: str) -> bool:
        """Tell whether this thread can open a user's database, be it in its place or staged here."""
        return self.staged_here(user_key) is not None or self.exists(user_key)

    def stage_for_test(
        self,
        user_key: str,
        fingerprint: str,
        *,
        rows: Iterable[Rows] = (),
        keys: KeyRange | None = None,
    ) -> Staged:
        """Clone the template for a user of a test, who never publishes it but discards it soon.

        Nothing is locked. What the engine can do without in this case, it may leave out. A database
        that is in the user's place stays there, out of this thread's reach until then.
        """
        return self._stage_as_usual(user_key, fingerprint, rows, keys)

    def stage_to_fill(
        self,
        user_key: str,
        fingerprint: str,
        *,
        rows: Iterable[Rows] = (),
        keys: KeyRange | None = None,
    ) -> Staged:
        """Clone the template for a user whose rows are put there at once, and published then.

        ``publish`` is called when nobody has it open any more; only then it has to be durable.
        """
        return self._stage_as_usual(user_key, fingerprint, rows, keys)

    def _stage_as_usual(
        self, user_key: str, fingerprint: str, rows: Iterable[Rows], keys: KeyRange | None
    ) -> Staged:
        """Do what ``stage`` does, which knows no ``keys`` where the engine gives no ranges."""
        ranges = {} if keys is None else {"keys": keys}
        return self.stage(user_key, fingerprint, rows=rows, **ranges)

    @classmethod
    def settings_for_tests(cls, settings: EngineSettings, directory: Path) -> EngineSettings:
        """Return what ``USER_DATABASES`` would say if the site were all tests.

        ``directory`` is empty, and nobody else's. Nothing that is in use may be reached.
        """
        return {**settings, "LOCATION": directory}
