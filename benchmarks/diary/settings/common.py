"""What the settings of all contenders share; each says where its rows are."""

import os
from pathlib import Path

BASE_DIR = Path(os.environ["BENCH_DIRECTORY"])
SECRET_KEY = "benchmark"  # noqa: S105, because it protects nothing
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
DEBUG = False
ROOT_URLCONF = "benchmarks.diary.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STOCK_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]
# The order of `startproject`, without what the two views do not use.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
#: How a user's place comes about; others say otherwise.
WAY = "benchmarks.diary.ways.together"
#: What Django's documentation recommends for SQLite in production; as durable as BENCH_SYNCHRONOUS says.
SYNCHRONOUS = os.environ.get("BENCH_SYNCHRONOUS", "FULL")
CONN_MAX_AGE = int(os.environ["BENCH_MAX_AGE"]) if "BENCH_MAX_AGE" in os.environ else None
SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": BASE_DIR / "default.sqlite3",
    "CONN_MAX_AGE": CONN_MAX_AGE,
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous={SYNCHRONOUS}",
    },
}
