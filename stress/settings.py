"""Settings of the site under stress: one user app, the switch of the admin, everything in a scratch directory."""

import os
from pathlib import Path

BASE_DIR = Path(os.environ["STRESS_DIRECTORY"])
SECRET_KEY = "stress"  # noqa: S105, because the site lives for minutes and serves nobody
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "stress.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "dsud",
    "stress.diary",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "dsud.middleware.DatabaseSwitchMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "default.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 60,
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL",
        },
    }
}
DATABASE_ROUTERS = ["dsud.router.UserSpecificDatabaseRouter"]
DSUD_APPS = ["diary"]
DSUD_MAX_OPEN = int(os.environ.get("STRESS_MAX_OPEN", "64"))
# Sessions in cookies, because the run logs users in without a log-in page.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
# Thousands of refused requests are part of the run; the table counts them.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"nowhere": {"class": "logging.NullHandler"}},
    "loggers": {
        "django": {"handlers": ["nowhere"], "propagate": False},
        "dsud": {"handlers": ["nowhere"], "propagate": False},
    },
}
