"""The settings of a site that lives in one directory."""

import os
from pathlib import Path

BASE_DIR = Path(os.environ["FLEET_DIRECTORY"])
SECRET_KEY = "benchmark"  # noqa: S105, because it protects nothing
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "dsud",
    "benchmarks.fleet_site",
]
MIDDLEWARE: list[str] = []
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "default.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    }
}
DATABASE_ROUTERS = ["dsud.router.UserSpecificDatabaseRouter"]
DSUD_APPS = ["fleet_site"]
# As with 1,024 open files, because what makes the databases is measured, too.
DSUD_MAX_OPEN = 250
