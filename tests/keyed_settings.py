"""Settings of a site whose users are known by a text, without the admin."""

from tests.settings import *  # noqa: F403

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "dsud",
    "tests.keyed",
    "tests.notes",
]
MIDDLEWARE = ["dsud.middleware.DatabaseSwitchMiddleware"]
DSUD_APPS = ["notes"]
AUTH_USER_MODEL = "keyed.Person"
ROOT_URLCONF = "django.contrib.auth.urls"
