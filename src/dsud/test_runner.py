"""The test runner of the guide: user databases in a directory of its own, and test users enrolled."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, TypeAlias, cast

from django.db import DEFAULT_DB_ALIAS
from django.test import runner

from dsud import testing

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

    from django.db.backends.base.base import BaseDatabaseWrapper

    OldConfig: TypeAlias = list[tuple[BaseDatabaseWrapper, str, bool]]


def init_worker(counter: Synchronized[int], *args: object, **kwargs: object) -> None:
    """Give a worker process a directory and test users of its own.

    ``ParallelTestSuite.init_worker`` is private; it has been a function of the module since
    Django 1.9, because spawned workers import it. If it goes, parallel runs fail at once.
    """
    runner._init_worker(counter, *args, **kwargs)  # type: ignore[attr-defined]
    testing.TestDirectory.of_worker(runner._worker_id).enter()  # type: ignore[attr-defined]
    testing.enrol_users()


class UserDatabaseParallelTestSuite(runner.ParallelTestSuite):
    """Workers that never share a user database."""

    init_worker = init_worker


class UserSQLiteDBManagerTestRunner(runner.DiscoverRunner):
    """Run tests on user databases of their own; those in production are out of reach."""

    parallel_test_suite = UserDatabaseParallelTestSuite

    def setup_test_environment(self, **kwargs: object) -> None:
        """Redirect user databases before the first connection is made."""
        super().setup_test_environment(**kwargs)
        self._directory = testing.TestDirectory.make()
        self._directory.enter()

    def setup_databases(self, **kwargs: object) -> OldConfig:
        """Set up Django's databases and enrol the test users."""
        config = super().setup_databases(**kwargs)
        aliases = cast("Collection[str] | None", kwargs.get("aliases"))
        self._enrols = aliases is None or DEFAULT_DB_ALIAS in aliases
        if self._enrols:
            testing.enrol_users()
        return config

    def teardown_databases(self, old_config: OldConfig, **kwargs: object) -> None:
        """Withdraw the test users, because a database that is kept would keep them, too."""
        if self._enrols:
            testing.withdraw_users()
        super().teardown_databases(old_config, **kwargs)

    def teardown_test_environment(self, **kwargs: object) -> None:
        """Remove the user databases of the run."""
        self._directory.leave()
        super().teardown_test_environment(**kwargs)
