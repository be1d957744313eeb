"""Settings of the site before it knew of dsud: one database for everybody."""

import os

from tests.mysql_site import SOCKET, database
from tests.settings import *
from tests.settings import BASE_DIR, INSTALLED_APPS, MIDDLEWARE

OURS = ("dsud", "tests.")
INSTALLED_APPS = [each for each in INSTALLED_APPS if not each.startswith(OURS)]
INSTALLED_APPS += ["tests.workshop"]
MIDDLEWARE = [each for each in MIDDLEWARE if not each.startswith("dsud.")]
DATABASE_ROUTERS: list[str] = []
TEST_RUNNER = "django.test.runner.DiscoverRunner"
ROOT_URLCONF = "tests.workshop.urls"
MEDIA_ROOT = BASE_DIR / "media"

if "WORKSHOP_POSTGRESQL_PORT" in os.environ:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ["WORKSHOP_POSTGRESQL_NAME"],
            "USER": "workshop",
            "HOST": "127.0.0.1",
            "PORT": os.environ["WORKSHOP_POSTGRESQL_PORT"],
        }
    }
if SOCKET in os.environ:
    DATABASES = {"default": database()}
