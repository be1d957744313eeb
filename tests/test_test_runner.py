"""The guide's test runner, run for real in a project of its own."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.diary import assert_untouched, make_project

TESTS = """
from django.contrib.auth import get_user_model
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from dsud import use_user
from dsud.engines import engine
from diary.models import Entry

class Mixin:
    def test_enrolled(self):
        names = list(get_user_model().objects.order_by("pk").values_list("pk", "username"))
        self.assertEqual(names, [(1337, "user_1337"), (1338, "user_1338")])
        self.assertTrue(get_user_model().objects.get(pk=1337).check_password("secret"))
        self.assertTrue(engine().exists("1337"))

    def test_location(self):
        self.assertNotIn("production", str(engine().location))
        with use_user(1337):
            Entry.objects.create(text="in a test")

class First(Mixin, TestCase):
    pass

class Second(Mixin, TestCase):
    def test_new_user(self):
        with use_user(get_user_model().objects.create_user("eve")):
            self.assertEqual(Entry.objects.count(), 0)

class Third(SimpleTestCase):
    def test_nothing(self):
        self.assertTrue(True)

class Fourth(SimpleTestCase):
    def test_nothing(self):
        pass
"""

RUNNER = """
from django.test.runner import DiscoverRunner
from dsud.test_runner import UserDatabaseRunnerMixin

class WithoutDatabase(DiscoverRunner):
    def setup_databases(self, **kwargs):
        pass

    def teardown_databases(self, old_config, **kwargs):
        pass

class Runner(UserDatabaseRunnerMixin, WithoutDatabase):
    pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with tests for Django's runner."""
    return make_project(tmp_path, {"diary/tests.py": TESTS})


def run_tests(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the project's tests with Django's command."""
    return run_django(project, "test", *arguments)


def run_django(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of Django's commands for the project."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "site_settings",
        "PYTHONPATH": os.pathsep.join([str(project), *filter(None, sys.path)]),
        "TMPDIR": str(project / "scratch"),
    }
    environment.pop("DSUD_TEST_DIRECTORY", None)  # Which an earlier test of this process has set.
    return subprocess.run(
        [sys.executable, "-m", "django", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [(), ("--parallel", "2"), ("--keepdb",), ("--shuffle", "7")],
    ids=lambda arguments: " ".join(arguments) or "plain",
)
def test_runner__enrols_users_and_leaves_production_untouched(
    project: Path, arguments: tuple[str, ...]
) -> None:
    for _ in range(2):  # Twice, because a database that is kept must not keep the users.
        result = run_tests(project, *arguments)
        assert result.returncode == 0, result.stderr
        assert "Ran 7 tests" in result.stderr
    assert_untouched(project)


def test_runner__failing_test_fails_the_run_and_leaves_nothing(project: Path) -> None:
    tests = project / "diary" / "tests.py"
    tests.write_text(tests.read_text().replace("assertTrue(True)", "assertTrue(False)"))
    result = run_tests(project)
    assert result.returncode == 1
    assert_untouched(project)


@pytest.mark.parametrize(
    "arguments",
    [
        ("diary.tests.Third", "diary.tests.Fourth"),
        ("diary.tests.Third", "diary.tests.Fourth", "--parallel", "2"),
        ("diary.tests.Second.test_new_user", "--testrunner", "diary.runner.Runner"),
    ],
    ids=["serial", "parallel", "runner that sets up none"],
)
def test_runner__without_a_database_for_tests_leaves_that_of_production_alone(
    project: Path, arguments: tuple[str, ...]
) -> None:
    (project / "diary" / "runner.py").write_text(RUNNER)
    migrated = run_django(project, "migrate")
    assert migrated.returncode == 0, migrated.stderr
    with closing(sqlite3.connect(project / "db.sqlite3")) as default, default:
        default.execute(
            "INSERT INTO auth_user (id, username, password, first_name, last_name, email,"
            " is_staff, is_superuser, is_active, date_joined)"
            " VALUES (1, 'user_1337', '', '', '', '', 0, 0, 1, '2026-01-01')"
        )
    before = (project / "db.sqlite3").read_bytes()

    result = run_tests(project, *arguments)

    assert result.returncode == 0, result.stderr
    assert (project / "db.sqlite3").read_bytes() == before
    assert_untouched(project)


def test_runner__database_that_an_interrupted_run_has_kept_is_no_obstacle(project: Path) -> None:
    assert run_tests(project, "--keepdb").returncode == 0
    with closing(sqlite3.connect(project / "test.sqlite3")) as default, default:
        default.execute(
            "INSERT INTO dsud_userdatabase (user_key, state, schema, last_error, created)"
            " VALUES ('7', 'ready', '', '', '2026-01-01')"
        )
    result = run_tests(project, "--keepdb")
    assert result.returncode == 0, result.stderr


def test_runner__what_a_killed_run_has_left_is_removed_by_the_next(project: Path) -> None:
    tests = project / "diary" / "tests.py"
    killed = "import os, signal\n\nclass Killed(TestCase):\n    def test(self):\n        os.kill(os.getpid(), signal.SIGTERM)\n"
    tests.write_text(TESTS.partition("class Mixin")[0] + killed)

    assert run_tests(project, "--noinput").returncode == -signal.SIGTERM
    assert len(list((project / "scratch").glob("dsud-tests-*"))) == 1
    tests.write_text(TESTS)
    result = run_tests(project, "--noinput")
    assert result.returncode == 0, result.stderr
    assert_untouched(project)
