"""Where user databases live while tests run: in a directory of the run, whatever the settings say."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from django.db import DEFAULT_DB_ALIAS, connections

from dsud.conf import EngineSettings, conf
from dsud.engines import leftovers
from dsud.exceptions import InvalidEngine

#: Tells the processes that a run of tests starts where it keeps its user databases.
ENVIRONMENT_VARIABLE = "DSUD_TEST_DIRECTORY"


def in_tests() -> bool:
    """Tell whether Django's test environment is set up, by whatever runner.

    ``setup_test_environment`` keeps what it replaces in ``_TestState.saved_data`` (Django 5.2 to
    6.1). If that goes, the runner of this package and its pytest plugin fail at once.
    """
    utils = sys.modules.get("django.test.utils")
    if utils is None or _is_being_imported(utils):
        return scratch.serves_fixtures
    return scratch.serves_fixtures or hasattr(utils._TestState, "saved_data")


def _is_being_imported(module: ModuleType) -> bool:
    """Tell whether another thread is importing a module, which is listed before it is complete."""
    return bool(getattr(module.__spec__, "_initializing", False))


def _worker() -> int:
    """Return which worker of Django's parallel runner this process is, 0 for none.

    ``django.test.runner._worker_id`` is private (Django 5.2 to 6.1); if it goes, forked workers
    share a directory, and their users' databases with it.
    """
    runner = sys.modules.get("django.test.runner")
    return getattr(runner, "_worker_id", 0)


def _default() -> object:
    """Return what tells one ``default`` from another; Oracle's for tests has another user only."""
    settings = connections.settings[DEFAULT_DB_ALIAS]
    return str(settings["NAME"]), settings["USER"]


class Scratch:
    """The directories of one run of tests; every worker has its own below the run's.

    What a test forks has the same directory as the test.
    """

    def __init__(self) -> None:
        self._worker: int | None = None
        self._pid = 0
        self._serial = 0
        self._directory = Path()
        self._allowed: list[Path] = []
        self._configured: object = None
        self._configured_default: object = None
        #: Set by ``manage.py testserver``, whose ``default`` is a test database, too.
        self.serves_fixtures = False

    def remember_configured(self) -> None:
        """Remember what the settings say before any test overrides it; told once, not again."""
        if self._configured is None:  # A test that overrides INSTALLED_APPS readies them again.
            self._configured = conf.USER_DATABASES
            self._configured_default = _default()

    def has_default(self) -> bool:
        """Tell whether ``default`` is a database for tests and not the one that the settings name.

        A run of tests that need no database leaves it as it is in the settings: in production.
        """
        return _default() != self._configured_default

    def directory(self) -> Path:
        """Return the directory of this worker; made when the engine needs it."""
        if self._worker != (worker := _worker()):
            self._worker, self._pid = worker, os.getpid()
            self._directory = self.root() / f"{self._pid}-{self._serial}"
            atexit.register(self.remove)
        return self._directory

    def root(self) -> Path:
        """Return the directory of the whole run; the process that makes it removes it at its end.

        One that is killed cannot, so that the next run does.
        """
        if (root := os.environ.get(ENVIRONMENT_VARIABLE)) is None:
            leftovers.remove_leftovers()
            directory, self._lock = leftovers.make_directory()
            root = os.environ[ENVIRONMENT_VARIABLE] = str(directory)
            atexit.register(self._remove_root, root, os.getpid())
        return Path(root)

    def start_afresh(self) -> None:
        """Give this process another, empty directory, and remove the one that it had."""
        old = self.directory()
        self._serial += 1
        self._directory = old.with_name(f"{self._pid}-{self._serial}")
        shutil.rmtree(old, ignore_errors=True)

    def remove(self) -> None:
        """Remove what this process has made; the whole directory of the run if it was the first."""
        if self._pid == os.getpid():
            shutil.rmtree(self._directory, ignore_errors=True)
            self._worker = None

    def _remove_root(self, root: str, pid: int) -> None:
        if pid == os.getpid():
            shutil.rmtree(root, ignore_errors=True)

    def allow(self, directory: Path) -> None:
        """Let tests put user databases below a further directory, such as that of ``tmp_path``."""
        self._allowed.append(directory.resolve())

    def replaces(self, location: object, databases: Mapping[str, EngineSettings]) -> bool:
        """Tell whether a LOCATION is that of the settings, which tests must not touch.

        Raises ``InvalidEngine`` for one that a test has chosen outside of the run's directories.
        """
        if databases == self._configured:
            return True
        path = Path(str(location)).resolve()
        if any(path.is_relative_to(root) for root in (self.root().resolve(), *self._allowed)):
            return False
        raise InvalidEngine(
            f"A test may not open user databases in {location}, because that is outside of the"
            " directory of this test run. Put them below `dsud.testing.directory()`."
        )


scratch = Scratch()
