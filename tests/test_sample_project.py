"""The tests of a household's site, run in every way that a project runs its tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parent / "sample_project"
TESTS, WRITTEN_BEFORE = 89, 61

#: Django's command, with the way in which it starts worker processes.
DJANGO = """
import multiprocessing, sys
multiprocessing.set_start_method(sys.argv.pop(1))
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""


class Project:
    """A copy of the sample project, beside a directory for temporary files."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "project"
        self.scratch = directory / "scratch"
        self.pytests_own = directory / "pytest"
        self.scratch.mkdir()
        self.pytests_own.mkdir()
        shutil.copytree(SAMPLE, self.root, ignore=shutil.ignore_patterns("__pycache__"))
        canary = self.root / "user_databases" / "canary"
        canary.parent.mkdir()
        canary.write_text("untouched")

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Return every file and directory of the project and of the temporary ones."""
        return {
            str(path): (path.stat().st_mtime_ns, b"" if path.is_dir() else path.read_bytes())
            for root in (self.root, self.scratch)
            for path in root.rglob("*")
        }

    def remove(self, paths: Iterable[str]) -> None:
        """Remove what a run has left, because the next one is not to be blamed for it."""
        for path in sorted(paths, reverse=True):
            Path(path).rmdir() if Path(path).is_dir() else Path(path).unlink()

    def manage(
        self, *arguments: str, start: str = "fork", settings: str = "household.settings"
    ) -> Counter[str]:
        """Run tests with Django's runner and return how many ended how."""
        command = ["-c", DJANGO, start, "test", "--verbosity", "2", *arguments]
        output = self._run(command, settings=settings)
        ended = re.findall(r"^(test_\w+ \([\w.]+\)) \.\.\. (\w+)", output, re.MULTILINE)
        ran = re.search(r"^Ran (\d+) tests? in", output, re.MULTILINE)
        assert ran, output
        assert int(ran[1]) == len({name for name, _ in ended}), output
        return _count(dict(ended), output)

    def pytest(self, *arguments: str, settings: str = "household.settings") -> Counter[str]:
        """Run tests with pytest and return how many ended how."""
        command = ["-m", "pytest", "-rA", "-p", "no:cacheprovider", "--color=no", *arguments]
        if not metadata.entry_points(group="pytest11", name="dsud"):
            command += ["-p", "dsud.pytest_plugin"]  # Because dsud is not installed here.
        output = self._run(command, settings=settings)
        ended = re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) (\S+)", output, re.MULTILINE)
        return _count({name: how for how, name in ended}, output)

    def _run(self, command: list[str], *, settings: str) -> str:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST", "DSUD", "DJANGO"))
        }
        finished = subprocess.run(
            [sys.executable, "-W", "error", *command],
            cwd=self.root,
            env=inherited
            | {
                "DJANGO_SETTINGS_MODULE": settings,
                "HOUSEHOLD_TEST_DATABASE": os.environ.get("HOUSEHOLD_TEST_DATABASE", ""),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": os.pathsep.join(
                    [str(self.root), *(str(Path(path).resolve()) for path in sys.path if path)]
                ),
                "PYTEST_DEBUG_TEMPROOT": str(self.pytests_own),  # It keeps those of three runs.
                "TMPDIR": str(self.scratch),
            },
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        output = finished.stdout + finished.stderr
        assert finished.returncode == 0, output
        assert "Exception ignored" not in output
        return output


def _count(ended: dict[str, str], output: str) -> Counter[str]:
    counted = Counter({"ok": "passed"}.get(how, how.lower()) for how in ended.values())
    assert set(counted) <= {"passed"}, output
    return counted


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return one copy for all runs, because none of them may change it."""
    return Project(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def project(copied: Project) -> Iterator[Project]:
    """Return the copy, and compare it with what it was when the test is over."""
    before = copied.files()
    yield copied
    left = copied.files()
    copied.remove(left.keys() - before.keys())
    assert sorted(left.keys() - before.keys()) == []
    assert left == before


@pytest.fixture
def kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return where runs keep ``default`` for the next one; removed before files are compared."""
    directory = project.scratch / "kept"
    directory.mkdir()
    monkeypatch.setenv("HOUSEHOLD_TEST_DATABASE", str(directory / "test.sqlite3"))
    yield directory
    assert {path.name.partition(".")[0] for path in directory.iterdir()} <= KEPT
    shutil.rmtree(directory)


#: The databases that a run keeps: the one of the process and those of two workers.
KEPT = {"test", "test_1", "test_2", "test_gw0", "test_gw1"}

OWN_RUNNER = ("--testrunner", "own_databases.runner.OrderAsFoundRunner")
DJANGO_RUNS = {
    "serial": ("fork",),
    "parallel, forked": ("fork", "--parallel", "2"),
    "parallel, spawned": ("spawn", "--parallel", "2"),
    "shuffled": ("fork", "--shuffle", "7"),
    "reversed": ("fork", "--reverse"),
    "own runner, as found": ("fork", *OWN_RUNNER),
    "own runner, from the end": ("fork", *OWN_RUNNER, "--reverse"),
}
PYTEST_RUNS = {
    "plain": ("-p", "no:randomly"),
    "two processes": ("-p", "no:randomly", "-n", "2"),
    "random order": ("-p", "randomly", "--randomly-seed", "7"),
}

#: Orders of the same tests, which are the runner's affair or ours, and not Django's.
ORDERS = {"shuffled", "reversed", "own runner, from the end", "random order"}


def ways(runs: dict[str, tuple[str, ...]]) -> list[object]:
    return [
        pytest.param(each, id=name, marks=[pytest.mark.once] * (name in ORDERS))
        for name, each in runs.items()
    ]


def serially_and(*parallel: str) -> list[object]:
    return [
        pytest.param((), id="serial"),
        pytest.param(parallel, id="parallel", marks=pytest.mark.once),
    ]


@pytest.mark.parametrize("arguments", ways(DJANGO_RUNS))
def test_django__passes_all_and_leaves_nothing(
    project: Project, arguments: tuple[str, ...]
) -> None:
    start, *options = arguments

    assert project.manage(*options, start=start) == {"passed": TESTS}


@pytest.mark.parametrize("workers", serially_and("--parallel", "2"))
def test_django__keeps_its_database_from_run_to_run(
    project: Project, kept: Path, workers: tuple[str, ...]
) -> None:
    for _ in range(2):
        assert project.manage("--keepdb", *workers) == {"passed": TESTS}
        assert (kept / "test.sqlite3").exists()


@pytest.mark.once
def test_django__runs_what_a_tag_selects(project: Project) -> None:
    slow = project.manage("--tag", "slow")["passed"]
    others = project.manage("--exclude-tag", "slow")["passed"]

    assert 0 < slow < 10
    assert slow + others == TESTS


def test_django__stock_runner_keeps_production_out_of_reach(project: Project) -> None:
    runner = ("--testrunner", "django.test.runner.DiscoverRunner")
    passed = project.manage(*runner, "--exclude-tag", "prepared", "own_databases")["passed"]

    assert passed == TESTS - WRITTEN_BEFORE - 8


@pytest.mark.parametrize("arguments", ways(PYTEST_RUNS))
def test_pytest__passes_all_and_leaves_nothing(
    project: Project, arguments: tuple[str, ...]
) -> None:
    assert project.pytest(*arguments) == {"passed": TESTS}


@pytest.mark.parametrize("workers", serially_and("-n", "2"))
def test_pytest__reuses_its_database_from_run_to_run(
    project: Project, kept: Path, workers: tuple[str, ...]
) -> None:
    for _ in range(2):
        assert project.pytest("--reuse-db", "-p", "no:randomly", *workers) == {"passed": TESTS}
        assert list(kept.iterdir())


def test_older_suite__passes_with_one_database_for_everybody(project: Project) -> None:
    settings = "household.single_settings"

    ended = project.manage("diary", "recipes", "reading", settings=settings)
    assert ended == {"passed": WRITTEN_BEFORE}
    assert (SAMPLE / "household" / "single_settings.py").read_text().count("dsud") == 0


@pytest.mark.parametrize("app", ["diary", "library", "reading", "recipes"])
def test_sample__was_written_as_if_there_were_one_database(app: str) -> None:
    code = [path.read_text() for path in (SAMPLE / app).rglob("*.py")]

    assert len(code) > 1
    assert not any("dsud" in text or "use_user" in text for text in code)
