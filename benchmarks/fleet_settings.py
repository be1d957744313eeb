"""Settings of the site whose fleet is measured: one app of twenty tables, written for the run."""

import os
import sys
from pathlib import Path

BASE_DIR = Path(os.environ["DSUD_BENCH_DIR"])
sys.path.insert(0, str(BASE_DIR))
SECRET_KEY = "benchmark"  # noqa: S105, because the site serves nobody
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "dsud",
    "shelves",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "default.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL",
        },
    }
}
DATABASE_ROUTERS = ["dsud.router.UserSpecificDatabaseRouter"]
MIDDLEWARE = ["dsud.middleware.DatabaseSwitchMiddleware"]
DSUD_APPS = ["shelves"]
