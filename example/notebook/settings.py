"""Settings of the Notes example: a stock Django project and, at the end, what dsud needs."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("NOTEBOOK_DATA", BASE_DIR / "data"))
DATA_DIR.mkdir(parents=True, exist_ok=True)  # because SQLite makes files, never directories

DEBUG = os.environ.get("NOTEBOOK_DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("NOTEBOOK_SECRET_KEY", "only-for-the-demo-on-your-own-machine")
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "dsud",
    "notes",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "dsud.middleware.DatabaseSwitchMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "notebook.urls"
WSGI_APPLICATION = "notebook.wsgi.application"
ASGI_APPLICATION = "notebook.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "default.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            "timeout": 20,
        },
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "log_in"
LOGIN_REDIRECT_URL = "notes:list"
LOGOUT_REDIRECT_URL = "log_in"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"

# dsud, besides its line in INSTALLED_APPS and its line in MIDDLEWARE:
DATABASE_ROUTERS = ["dsud.router.UserSpecificDatabaseRouter"]
TEST_RUNNER = "dsud.test_runner.UserSQLiteDBManagerTestRunner"
DSUD_APPS = ["notes"]  # every user has notes and tags in a database of their own
USER_DATABASES = {
    "default": {"ENGINE": "dsud.engines.sqlite", "LOCATION": DATA_DIR / "user_databases"},
}
