"""What every test of an engine starts from: a location of its own, and means to act as users."""

from __future__ import annotations

import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest
from unittest.mock import patch

from django.test import TransactionTestCase, override_settings

from dsud import engines
from dsud.conf import EngineSettings
from dsud.engines import engine
from dsud.engines.base import BaseEngine
from dsud.engines.hooks import Hooks
from dsud.engines.scratch import scratch
from dsud.engines.staged import Staged
from dsud.testing.conformance import schema
from dsud.testing.conformance.acting import part, prepare, refuse_to_make
from dsud.testing.conformance.processes import OtherProcess


class EngineSuite(TransactionTestCase):
    """Tests of the engine that ``engine`` describes, each in a location that no other uses."""

    #: The entry of ``USER_DATABASES``, without ``LOCATION``.
    engine: ClassVar[EngineSettings | None] = None

    #: How many user databases to make where the promise is about many.
    fleet_size: ClassVar[int] = 1000

    __test__ = False  # Because pytest would collect the suite itself where it is imported.

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__test__ = cls.engine is not None

    @classmethod
    def setUpClass(cls) -> None:
        if cls.engine is None:
            raise SkipTest("The class names no engine.")
        if "DJANGO_SETTINGS_MODULE" not in os.environ:
            raise AssertionError(
                "The suite starts other processes, so DJANGO_SETTINGS_MODULE must name the settings."
            )
        super().setUpClass()

    def setUp(self) -> None:
        super().setUp()
        self.settings_in_force = {
            "USER_DATABASES": self.describe_anew(),
            "DSUD_APPS": [schema.APP],
            "DSUD_MIRRORED_MODELS": [],
            "DSUD_OUTDATED": "serve",  # The suite has no migrations to judge its databases by.
            "DATABASE_ROUTERS": ["dsud.router.UserSpecificDatabaseRouter"],
        }
        self.enterContext(override_settings(**self.settings_in_force))
        self.enterContext(patch.object(Hooks, "when_missing", staticmethod(refuse_to_make)))
        self.addCleanup(part)
        engine().initialize()

    # What a class may say otherwise

    def put_in_place(self, user_key: str, *, of: str) -> None:
        """Put the database of the user ``user_key`` in the place of another, as a mix-up would.

        Both have one. Without this the suite cannot see whether the engine looks whose it opens.
        """
        raise SkipTest("The class does not say how to mix up two databases: put_in_place().")

    # What tests share

    def describe_anew(self, **options: object) -> dict[str, EngineSettings]:
        """Return ``USER_DATABASES`` for this engine, at a place that nothing was put in before.

        What is there is removed after the test. ``options`` are added to those of the class.
        """
        assert self.engine is not None  # noqa: S101, because setUpClass has looked.
        settings: EngineSettings = {**self.engine}
        if options:
            settings["OPTIONS"] = {**settings.get("OPTIONS", {}), **options}
        engine_class: type[BaseEngine] = import_module(settings["ENGINE"]).Engine
        scratch.directory().mkdir(parents=True, exist_ok=True)
        directory = self.enterContext(tempfile.TemporaryDirectory(dir=scratch.directory()))
        return {engines.DEFAULT: engine_class.settings_for_tests(settings, Path(directory))}

    def another_engine(self, databases: dict[str, EngineSettings] | None = None) -> BaseEngine:
        """Return an engine as a process has it that starts now; by default, where this one is."""
        return engines.build(engines.DEFAULT, databases or self.settings_in_force["USER_DATABASES"])

    def other_process(self) -> OtherProcess:
        """Return another process of the same site, which ends with the test."""
        process = OtherProcess(self.settings_in_force)
        self.addCleanup(process.stop)
        return process

    def stage(self, user_key: str) -> Staged:
        """Stage a database under the user's lock, both until the end of the test."""
        fingerprint = prepare()
        self.enterContext(engine().lock(user_key))
        staged = engine().stage(user_key, fingerprint)
        self.addCleanup(staged.discard)
        return staged
