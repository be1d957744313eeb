"""Testing is public API: user databases of tests live in a directory of their own, and end with it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from django.contrib.auth import get_user_model
from django.db.models import Model
from django.test.utils import override_settings

from dsud import provisioning
from dsud.conf import EngineSettings, conf
from dsud.connections import release
from dsud.context import user_key
from dsud.engines import engine
from dsud.leases import Force
from dsud.pool import pool

#: Tells the worker processes of a parallel run where the run keeps its user databases.
ENVIRONMENT_VARIABLE = "DSUD_TEST_DIRECTORY"


class TestDirectory:
    """A scratch directory that stands in for LOCATION from before the first connection on."""

    __test__ = False  # Because pytest would collect a class of this name.

    def __init__(self, root: Path) -> None:
        self.root = root
        self._settings = override_settings(USER_DATABASES=self._redirected())

    @classmethod
    def make(cls) -> TestDirectory:
        """Return one that no other run uses, known to the processes that this one starts."""
        root = Path(tempfile.mkdtemp(prefix="dsud-tests-"))
        os.environ[ENVIRONMENT_VARIABLE] = str(root)
        return cls(root / "main")

    @classmethod
    def of_worker(cls, number: int) -> TestDirectory:
        """Return the one of a worker process of this run."""
        return cls(Path(os.environ[ENVIRONMENT_VARIABLE]) / f"worker-{number}")

    def _redirected(self) -> dict[str, EngineSettings]:
        return {
            alias: {**settings, "LOCATION": self.root / alias}
            for alias, settings in conf.USER_DATABASES.items()
        }

    def enter(self) -> None:
        """Send every user database here; what was open elsewhere is closed first."""
        release(force=Force.EVERYTHING)
        pool.close_idle()
        self._settings.enable()

    def leave(self) -> None:
        """Put the settings back and remove the run's directory with all that is in it."""
        release(force=Force.EVERYTHING)
        pool.close_idle()
        self._settings.disable()
        os.environ.pop(ENVIRONMENT_VARIABLE, None)
        shutil.rmtree(self.root.parent)


def enrol_users() -> list[Model]:
    """Create the users of ``USER_SQLITE_DB_MANAGER_TEST_USER_DETAILS`` with their databases."""
    create_user = get_user_model()._default_manager.create_user
    withdraw_users()  # Those that an interrupted run left in a database that is kept.
    users: list[Model] = []
    for details in conf.USER_SQLITE_DB_MANAGER_TEST_USER_DETAILS:
        user = create_user(**details)  # type: ignore[arg-type]  # The project names the arguments.
        if not engine().exists(user_key(user)):  # DSUD_PROVISION may leave out the sign-up.
            provisioning.provision(user_key(user))
        users.append(user)
    return users


def withdraw_users() -> None:
    """Delete the users that ``enrol_users`` creates, and their databases with them."""
    model = get_user_model()
    for details in conf.USER_SQLITE_DB_MANAGER_TEST_USER_DETAILS:
        names = {"pk", "id", model._meta.pk.name, model.USERNAME_FIELD}
        for name in names & set(details):
            for user in model._base_manager.filter(**{name: details[name]}):
                user.delete()
