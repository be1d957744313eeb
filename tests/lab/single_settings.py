"""Settings of the site before it knew of dsud."""

from tests.workshop.single_settings import *
from tests.workshop.single_settings import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = [each for each in INSTALLED_APPS if not each.startswith("tests.")]
INSTALLED_APPS += ["taggit", "simple_history", "mptt", "treebeard", "tests.lab"]
MIDDLEWARE = list(MIDDLEWARE)
AUTH_USER_MODEL = "lab.Person"
