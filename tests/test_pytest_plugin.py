"""The pytest plugin, loaded as a project that installed the package has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.diary import SETTINGS, assert_untouched, make_project

TESTS = """
from urllib.request import urlopen
import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from dsud import current_user_id, testing, use_user
from dsud.context import outside
from dsud.engines import engine
from dsud.exceptions import InvalidEngine, NoActiveUser
from diary.models import Entry

def test_user_database(user_database):
    assert engine().staged_here(str(user_database.pk))
    assert current_user_id() == user_database.pk  # Who stands in.
    with use_user(user_database):
        Entry.objects.create(text="x")

def test_as_user(as_user, client):
    with outside(), pytest.raises(NoActiveUser):
        Entry.objects.count()
    Entry.objects.create(text="x")
    assert current_user_id() == as_user.pk
    assert Entry.objects.count() == 1

@pytest.mark.django_db
def test_enrolled():
    with use_user(1337):
        assert Entry.objects.count() == 0
        Entry.objects.create(text="gone with the test")

test_enrolled_again = test_enrolled

@pytest.mark.django_db(transaction=True)
def test_enrolled_flushed():
    with use_user(1338):
        assert Entry.objects.count() == 0
        Entry.objects.create(text="flushed")

test_enrolled_flushed_again = test_enrolled_flushed

def test_live_server(live_server, transactional_db):
    user = testing.create_user()
    with use_user(user):
        Entry.objects.create(text="x")
    with urlopen(f"{live_server.url}/") as answer:
        assert answer.read() == b"0 rows with nobody active: NoActiveUser"

def test_location(settings, tmp_path):
    assert "production" not in str(engine().location)
    settings.USER_DATABASES = {"default": {"LOCATION": tmp_path}}
    assert engine().location == tmp_path
    settings.USER_DATABASES = {"default": {"LOCATION": "/srv"}}
    with pytest.raises(InvalidEngine):
        engine()

def test_blocked():
    with use_user(1337), pytest.raises(RuntimeError, match="Database access not allowed"):
        Entry.objects.count()
"""

URLS = """
from django.http import HttpResponse
from django.urls import path
from dsud.exceptions import NoActiveUser
from diary.models import Entry

def count(request):
    try:
        return HttpResponse(Entry.objects.count())
    except NoActiveUser:
        return HttpResponse("0 rows with nobody active: NoActiveUser")

urlpatterns = [path("", count)]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with tests for pytest."""
    settings = f"{SETTINGS}ROOT_URLCONF = 'site_urls'\nSTATIC_URL = 'static/'\n"
    return make_project(
        tmp_path, {"site_settings.py": settings, "site_urls.py": URLS, "test_diary.py": TESTS}
    )


def run_pytest(directory: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run pytest with the plugin in a directory."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")},
        "PYTHONPATH": os.pathsep.join([str(directory), *filter(None, sys.path)]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "TMPDIR": str(directory / "scratch"),
        **variables,
    }
    environment.pop("DSUD_TEST_DIRECTORY", None)
    options = ["-q", "-p", "no:cacheprovider", "-p", "dsud.pytest_plugin", *arguments]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize(
    "arguments",
    [(), ("--reuse-db",), ("-p", "xdist.plugin", "-n", "2")],
    ids=lambda arguments: " ".join(arguments) or "plain",
)
def test_plugin__needs_no_test_runner(project: Path, arguments: tuple[str, ...]) -> None:
    for _ in range(2):
        code, output = run_pytest(
            project,
            "-p",
            "pytest_django.plugin",
            *arguments,
            DJANGO_SETTINGS_MODULE="site_settings",
        )
        assert code == 0, output
        assert "9 passed" in output
    assert_untouched(project)


def test_plugin__without_django_or_settings(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "test_plain.py").write_text("def test_plain(): pass")
    code, output = run_pytest(tmp_path)
    assert (code, "1 passed" in output) == (0, True), output
    code, output = run_pytest(tmp_path, "-p", "pytest_django.plugin")
    assert (code, "1 passed" in output) == (0, True), output


def test_plugin__in_a_project_that_has_not_installed_the_app(project: Path) -> None:
    (project / "site_settings.py").write_text("SECRET_KEY = 'x'\nINSTALLED_APPS = []\n")
    (project / "test_diary.py").write_text("def test_plain(): pass")
    code, output = run_pytest(
        project, "-p", "pytest_django.plugin", DJANGO_SETTINGS_MODULE="site_settings"
    )
    assert (code, "1 passed" in output) == (0, True), output
