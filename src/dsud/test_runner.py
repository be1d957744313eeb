"""The test runner of the guide, and what a project's own runner takes from it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, TypeAlias, cast

from django.db import DEFAULT_DB_ALIAS
from django.test import runner

from dsud.engines.scratch import scratch

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

    from django.db.backends.base.base import BaseDatabaseWrapper

    OldConfig: TypeAlias = list[tuple[BaseDatabaseWrapper, str, bool]]
    Runner = runner.DiscoverRunner
else:
    Runner = object


def init_worker(counter: Synchronized[int], *args: object, **kwargs: object) -> None:
    """Give a worker process a directory and test users of its own.

    ``ParallelTestSuite.init_worker`` is private; it has been a function of the module since
    Django 1.9, because spawned workers import it. If it goes, parallel runs fail at once.
    """
    runner._init_worker(counter, *args, **kwargs)  # type: ignore[attr-defined]
    from dsud import testing  # Because spawned workers import this module before Django is set up.

    testing.install()
    testing.start_afresh()


class UserDatabaseParallelTestSuite(runner.ParallelTestSuite):
    """Workers that never share a user database."""

    init_worker = init_worker


class UserDatabaseRunnerMixin(Runner):
    """What a runner needs for user databases; put it before the runner in the list of bases."""

    parallel_test_suite = UserDatabaseParallelTestSuite
    _enrols = False

    def setup_test_environment(self, **kwargs: object) -> None:
        """Have tests treat user databases as they treat ``default``."""
        from dsud import testing

        super().setup_test_environment(**kwargs)
        testing.install()

    def setup_databases(self, **kwargs: object) -> OldConfig:
        """Set up Django's databases and enrol the test users."""
        from dsud import provisioning, testing

        config = super().setup_databases(**kwargs)
        aliases = cast("Collection[str] | None", kwargs.get("aliases"))
        # Not where a runner sets up none, whatever it is asked for: default is production's then.
        self._enrols = scratch.has_default() and (aliases is None or DEFAULT_DB_ALIAS in aliases)
        if self._enrols:
            provisioning.prepare()  # Once, before workers are forked.
            testing.start_afresh()
        return config

    def teardown_databases(self, old_config: OldConfig, **kwargs: object) -> None:
        """Withdraw the test users, because a database that is kept would keep them, too."""
        from dsud import testing

        if self._enrols:
            testing.withdraw_users()
        super().teardown_databases(old_config, **kwargs)

    def teardown_test_environment(self, **kwargs: object) -> None:
        """Remove the user databases of the run."""
        from dsud import testing

        testing.uninstall()
        super().teardown_test_environment(**kwargs)
        scratch.remove()


class UserSQLiteDBManagerTestRunner(UserDatabaseRunnerMixin, runner.DiscoverRunner):
    """Run tests on user databases of their own; those in production are out of reach."""
