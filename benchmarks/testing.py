"""What user databases cost in tests: the same tests with them and with one database for everybody."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import IO, cast

from benchmarks.figures import RATIO, Figure, Report

ROOT = Path(__file__).parents[1]
HOUSEHOLD = ROOT / "tests" / "sample_project"
EXAMPLE = ROOT / "example"

#: How Django's runner says how long the tests took, without setting up databases.
_RAN = re.compile(r"Ran (\d+) tests in ([\d.]+)s\n\nOK")


def run(*, quick: bool = False) -> Report:
    """Measure one test and two suites, with and without user databases, turn by turn."""
    figures = [
        *_one_test(30 if quick else 120),
        *_suites(3 if quick else 15),
    ]
    return Report("Tests with user databases, against one database for everybody", figures)


# One test


class Worker:
    """A process that runs one and the same test again and again, when it is told to."""

    def __init__(self, settings: str, directory: str) -> None:
        command = [sys.executable, "-m", "benchmarks.one_test"]
        self._process = subprocess.Popen(
            command,
            env=_environment(HOUSEHOLD, settings=settings, directory=directory),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, times: int) -> list[float]:
        """Run the test and return how long it took each time."""
        told, answers = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        told.write(f"{times}\n")
        told.flush()
        return [float(each) for each in json.loads(answers.readline())]

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.communicate()


def _one_test(rounds: int) -> list[Figure]:
    together: list[float] = []
    apart: list[float] = []
    floor: list[float] = []
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        one = stack.enter_context(Worker("household.single_settings", directory))
        own = stack.enter_context(Worker("household.settings", directory))
        bare = stack.enter_context(Worker("", directory))
        for worker in (one, own, bare):
            worker.seconds(100)  # To warm up.
        for _ in range(rounds):
            # Short turns, so that whatever else the machine does slows all of them.
            together.append(median(one.seconds(10)))
            apart.append(median(own.seconds(10)))
            floor.append(median(bare.seconds(10)))
    cost = [own - one for own, one in zip(apart, together, strict=True)]
    return [
        Figure("a test that creates a user and a row of theirs, one database", _ms(together), "ms"),
        Figure("the same with user databases", _ms(apart), "ms"),
        Figure("a test user's database", _ms(cost), "ms", at_most=1.0, floor=_ms(floor)),
    ]


def _ms(seconds: list[float]) -> float:
    return median(seconds) * 1000


# Suites


def _suites(rounds: int) -> list[Figure]:
    figures = []
    for name, project, arguments, settings, at_most in (
        (
            "the example site's suite",
            EXAMPLE,
            ["--exclude-tag", "isolation"],
            ("benchmarks.example_single", "notebook.settings"),
            1.1,
        ),
        (
            "32 older tests, half of them with files",
            HOUSEHOLD,
            ["recipes", "reading"],
            ("household.single_settings", "household.settings"),
            None,
        ),
    ):
        tests: dict[str, list[float]] = {each: [] for each in settings}
        whole: dict[str, list[float]] = {each: [] for each in settings}
        for _ in range(rounds):
            for each in settings:
                seconds = _suite(project, each, arguments)
                tests[each].append(seconds[0])
                whole[each].append(seconds[1])
        one, own = (median(tests[each]) for each in settings)
        against = f"{name}, user databases against one"
        figures.append(Figure(against, own / one, RATIO, at_most, floor=1.0))
        one, own = (median(whole[each]) for each in settings)
        figures.append(Figure("    with the set-up of the databases", own / one, RATIO))
    return figures


def _suite(project: Path, settings: str, arguments: list[str]) -> tuple[float, float]:
    """Return the seconds that the tests took, and those of the whole command."""
    begun = perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        result = subprocess.run(
            [sys.executable, "-m", "django", "test", *arguments],
            cwd=project,
            env=_environment(project, settings=settings, directory=directory),
            capture_output=True,
            text=True,
            check=False,
        )
    found = _RAN.search(result.stderr)
    if found is None:
        raise RuntimeError(f"The suite failed with {settings}:\n{result.stderr}")
    return float(found[2]), perf_counter() - begun


def _environment(project: Path, *, settings: str, directory: str) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": settings,
        "NOTEBOOK_DATA": directory,
        "TMPDIR": directory,
        "PYTHONPATH": os.pathsep.join([str(project), str(ROOT), str(ROOT / "src")]),
    }
