"""The two sides of a comparison: the settings that differ, and a run of Django's tests with them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dsud
from django_suite.outcomes import Outcomes, RecordUnusable, read
from django_suite.recorder import ENVIRONMENT_VARIABLE

ROOT = Path(__file__).parents[1]

STOCK = "django.db.backends.sqlite3"
OURS = "dsud.engines.sqlite"
LEASED = "django_suite.leased"

#: Django's own settings for SQLite are taken as they are; what is changed is the engine, and the runner.
_SETTINGS = """
from test_sqlite import *

TEST_RUNNER = "django_suite.recorder.RecordingRunner"
for _alias in DATABASES:
    DATABASES[_alias]["ENGINE"] = {engine!r}
"""

#: Files in the place of databases in memory, because SQLite locks them in another way.
_ON_DISK = """
for _alias in DATABASES:
    DATABASES[_alias]["NAME"] = {directory!r} + "/" + _alias
    DATABASES[_alias]["TEST"] = {{"NAME": {directory!r} + "/test_" + _alias}}
"""

#: A router without an opinion, because Django looks at more databases as soon as there is any router.
_ROUTER = """
DATABASE_ROUTERS = ["builtins.object"]
"""

#: ``runtests.py`` installs what is in its lists, and reads the settings before it does.
_INSTALLED = """
import sys

sys.modules["__main__"].ALWAYS_INSTALLED_APPS.append("dsud")
sys.modules["__main__"].ALWAYS_MIDDLEWARE.append("dsud.middleware.DatabaseSwitchMiddleware")
DATABASE_ROUTERS = ["dsud.router.UserSpecificDatabaseRouter"]
USER_DATABASES = {{"default": {{"ENGINE": "dsud.engines.sqlite", "LOCATION": {directory!r}}}}}
"""


#: What the engine says of a user's database.
_LEASED = """
for _alias in DATABASES:
    DATABASES[_alias]["USER_KEY"] = _alias
    DATABASES[_alias]["OPTIONS"] = {{"isolation_level": None, "cached_statements": 64}}
DSUD_MIRRORED_MODELS = []  # Because originals are written here, too.
"""

#: Tests of what nobody does with a connection that the pool owns, and why.
_LEFT_OUT = """
LEFT_OUT = {{
    "backends.sqlite.tests.ThreadSharing.test_database_sharing_in_threads":
        "it closes SQLite's own connections, and they are the pool's",
    "backends.sqlite.tests.TestTransactionMode.test_invalid_transaction_mode":
        "it changes the settings of a connection after it was made",
    "backends.sqlite.tests.TestTransactionMode.test_valid_transaction_modes":
        "it changes the settings of a connection after it was made",
}}
"""


class SuiteBroken(Exception):
    """Raised when Django's tests did not run to their end."""


@dataclass(frozen=True)
class Side:
    """One of the two runs: its backend, and what its settings have besides."""

    name: str
    engine: str
    more: tuple[str, ...] = ()

    def settings(self, directory: Path) -> str:
        """Return the source of the settings module; files of databases go to the directory."""
        source = "".join((_SETTINGS, *self.more))
        return source.format(engine=self.engine, directory=str(directory))


def sides(
    *, installed: bool = False, leased: bool = False, on_disk: bool = False
) -> tuple[Side, Side]:
    """Return Django's side and ours; only files can be leased."""
    both = (*[_ON_DISK] * (on_disk or leased), *[_LEFT_OUT] * leased)
    ours = (*[_INSTALLED] * installed, *[_LEASED] * leased)
    return (
        Side("stock", STOCK, (*both, *[_ROUTER] * installed)),
        Side("ours", LEASED if leased else OURS, (*both, *ours)),
    )


class Run:
    """A process that runs Django's tests on one side."""

    def __init__(self, side: Side, *, tests: Path, modules: Sequence[str], scratch: Path) -> None:
        self._side = side
        self._directory = scratch / side.name
        self._directory.mkdir()
        self._record = self._directory / "record"
        self._output = self._directory / "output"
        settings = f"django_suite_{side.name}"
        (self._directory / f"{settings}.py").write_text(side.settings(self._directory))
        command = [sys.executable, "runtests.py", f"--settings={settings}", "--parallel=1"]
        with self._output.open("w") as output:
            self._process = subprocess.Popen(  # noqa: S603, because it is Django's own script
                [*command, "--noinput", *modules],
                cwd=tests,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _environment(self) -> dict[str, str]:
        # By absolute paths, because the process runs elsewhere.
        paths = [self._directory, ROOT, Path(*dsud.__path__).parent]
        inherited = {name: text for name, text in os.environ.items() if name[:5] != "DSUD_"}
        return inherited | {
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONHASHSEED": "0",  # Because both sides must see the same order of sets.
            "TMPDIR": str(self._directory),
            ENVIRONMENT_VARIABLE: str(self._record),
        }

    def outcomes(self, *, seconds: float) -> Outcomes:
        """Wait for the end and return what became of each test.

        Raises ``SuiteBroken`` when the run did not come to its end within so many seconds.
        """
        try:
            status = self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise self._broken(f"took more than {seconds:.0f} s") from None
        if status not in (0, 1):  # 1 says that tests failed, which is for the comparison to judge.
            raise self._broken(f"ended with {status}")
        try:
            record = self._record.read_text() if self._record.exists() else ""
            return read(record, engine=self._side.engine)
        except RecordUnusable as error:
            raise self._broken(str(error)) from error

    def _broken(self, what: str) -> SuiteBroken:
        lines = self._output.read_text().splitlines()[-30:]
        return SuiteBroken(
            "\n".join([f"The run with the {self._side.name} backend {what}:", *lines])
        )

    def stop(self) -> None:
        """End the process if it runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
