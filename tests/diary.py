"""A project of its own with a user app, whose production directory of user databases holds a canary."""

from collections.abc import Mapping
from pathlib import Path

SETTINGS = """
from pathlib import Path
BASE_DIR = Path(__file__).parent
SECRET_KEY = "x"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "dsud", "diary"]
MIDDLEWARE = []
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3",
    "TEST": {"NAME": BASE_DIR / "test.sqlite3"}}}
DATABASE_ROUTERS = ["dsud.router.UserSpecificDatabaseRouter"]
TEST_RUNNER = "dsud.test_runner.UserSQLiteDBManagerTestRunner"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SILENCED_SYSTEM_CHECKS = ["dsud.E001"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DSUD_APPS = ["diary"]
USER_SQLITE_DB_MANAGER_TEST_USER_DETAILS = [
    {"id": 1337, "username": "user_1337", "password": "secret"},
    {"id": 1338, "username": "user_1338", "password": "secret"},
]
"""

MODELS = """
from django.db import models

class Entry(models.Model):
    text = models.TextField()
"""


def make_project(directory: Path, files: Mapping[str, str]) -> Path:
    """Make the project in an empty directory, with further files by their names."""
    written = {
        "site_settings.py": SETTINGS,
        "diary/__init__.py": "",
        "diary/models.py": MODELS,
        "user_databases/canary": "untouched",
        **files,
    }
    for name, text in written.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (directory / "scratch").mkdir()
    return directory


def assert_untouched(project: Path) -> None:
    """Assert that production is as it was and that nothing is left anywhere."""
    production = project / "user_databases"
    assert [path.name for path in production.iterdir()] == ["canary"]
    assert (production / "canary").read_text() == "untouched"
    assert list((project / "scratch").glob("dsud-tests-*")) == []
