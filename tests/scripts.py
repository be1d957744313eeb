"""Run a script of a test in a process of its own, with a site of its own."""

import os
import subprocess
import sys
from pathlib import Path

SET_UP = """
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
"""


def run_script(script: str, *, directory: Path) -> str:
    """Run Python code in a fresh process, on a site in ``directory``, and return what it prints."""
    environment = os.environ | {
        "DSUD_TEST_DIR": str(directory),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    finished = subprocess.run(
        [sys.executable, "-c", SET_UP + script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
