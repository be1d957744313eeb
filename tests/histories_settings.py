"""Settings of a site where every app's tables are in one database: whole histories are compared there."""

import os

from tests.settings import *  # noqa: F403, because it is that site, with other apps
from tests.settings import MIDDLEWARE

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "dsud",
    # Few at a time, because rendering the models of all takes most of the time.
    *os.environ["DSUD_TEST_APPS"].split(","),
]
MIDDLEWARE = [
    *MIDDLEWARE,
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
]
SITE_ID = 1
DATABASE_ROUTERS = []
DSUD_APPS = []
