"""Run a whole site of its own in other processes: real interpreters, real files, real exit codes."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests import warm
from tests.warm import ROOT, TIMEOUT

#: What every script starts with; children fork from an interpreter that is warm.
PRELUDE = """
import os, signal, sys, time, traceback
import django
django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connections, transaction
from dsud import lifecycle, provisioning, schema
from dsud.context import use_user
from dsud.engines import engine
from dsud.models import UserDatabase
from dsud.opening import as_they_are
User = get_user_model()

def in_children(number, run):
    # Without connections, because those of SQLite must not cross a fork.
    connections.close_all()
    children = []
    for index in range(number):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run(index)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
"""


@dataclass(frozen=True)
class Site:
    """A site that keeps everything in one directory."""

    directory: Path
    settings: str = "tests.settings"

    @property
    def location(self) -> Path:
        """Return where its user databases are."""
        return self.directory / "user_databases"

    def databases(self) -> list[Path]:
        """Return the live database files."""
        return sorted(
            path for path in self.location.glob("??/*/*/db.sqlite3") if path.parent.name.isdecimal()
        )

    def run(self, code: str, *arguments: str) -> str:
        """Run a script and return what it prints; fail with its traceback when it fails."""
        finished = self.script(PRELUDE + code, *arguments)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    def script(self, code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a script to its end, in a process of its own."""
        return warm.run(code, *arguments, environment=self.environment())

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a management command the way operators do."""
        return self.start([sys.executable, "-m", "django", *arguments])

    def start(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        """Run a process to its end."""
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """Return the environment in which the site keeps its files in its directory."""
        return os.environ | {
            "DJANGO_SETTINGS_MODULE": self.settings,
            "DSUD_TEST_DIR": str(self.directory),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "NO_COLOR": "1",
        }
