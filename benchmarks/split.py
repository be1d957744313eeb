"""What a split costs beside bare SQL: the same rows into the same databases by INSERT … SELECT."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.figures import RATIO, Figure, Report

ROOT = Path(__file__).parents[1]

_GENERATE = """
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from tests.workshop.generate import generate
generate({users}, units={units})
"""
_MIGRATE = """
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
"""


def run(*, quick: bool = False) -> Report:
    """Measure a split of 200,000 rows of 300 users over 11 tables, user by user in turn."""
    users, units = (40, 17) if quick else (300, 17)
    with tempfile.TemporaryDirectory() as directory:
        _python("tests.workshop.single_settings", directory, "-c", _generate(users, units))
        _python("tests.workshop.settings", directory, "-c", _MIGRATE)
        output = _python("tests.workshop.settings", directory, "-m", "benchmarks.one_split")
    found = json.loads(output)
    bare = [float(user[0]) for user in found["users"]]
    split = [float(user[1]) for user in found["users"]]
    whole = sum(split) + found["planned"] + found["once"]
    return Report(
        f"A split of {found['rows']:,} rows of {users} users, against INSERT … SELECT over ATTACH",
        [
            Figure(
                "INSERT … SELECT into databases made before, rows", _per_second(found, bare), "/s"
            ),
            Figure(
                "the split, with making, verifying and publishing them",
                _per_second(found, split),
                "/s",
            ),
            Figure(
                "the split with its plan, against INSERT … SELECT",
                whole / sum(bare),
                RATIO,
                at_most=None if quick else 3.0,
            ),
            # Of few users, the median alone is the same on an idle machine and on a busy one.
            Figure(
                "    the median of all users",
                _median_ratio(bare, split),
                RATIO,
                at_most=3.0 if quick else None,
            ),
            Figure("    the plan alone", found["planned"], "s"),
            Figure("    the template, which is left out", found["built"], "s"),
            Figure(
                "    against all rows into one file, one statement for each table",
                whole / found["together"],
                RATIO,
            ),
        ],
    )


def _generate(users: int, units: int) -> str:
    return _GENERATE.format(users=users, units=units)


def _per_second(found: dict[str, float], seconds: list[float]) -> float:
    return found["rows"] / sum(seconds)


def _median_ratio(bare: list[float], split: list[float]) -> float:
    return median(one / other for one, other in zip(split, bare, strict=True))


def _python(settings: str, directory: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": settings,
            "DSUD_TEST_DIR": directory,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"{arguments} failed with {settings}:\n{result.stderr}")
    return result.stdout
