"""Plain Django: one PostgreSQL database, and a column for the owner."""

import os

from benchmarks.diary.settings.common import *
from benchmarks.diary.settings.common import CONN_MAX_AGE, STOCK_APPS, SYNCHRONOUS

INSTALLED_APPS = [*STOCK_APPS, "benchmarks.diary.together"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": os.environ["BENCH_POSTGRESQL_PORT"],
        "USER": "bench",
        "NAME": os.environ.get("BENCH_POSTGRESQL_NAME", "postgres"),
        "CONN_MAX_AGE": CONN_MAX_AGE,
        # What NORMAL promises of SQLite, PostgreSQL calls asynchronous commit.
        "OPTIONS": {
            "options": "-c synchronous_commit=" + ("on" if SYNCHRONOUS == "FULL" else "off")
        },
    }
}
