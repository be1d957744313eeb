"""The example's settings with an app that has a history, migrated when databases are opened."""

from tests.example_settings import *  # noqa: F403
from tests.example_settings import DSUD_APPS, INSTALLED_APPS, LOGGING

INSTALLED_APPS = [*INSTALLED_APPS, "tests.evolving"]
DSUD_APPS = [*DSUD_APPS, "evolving"]
DSUD_OUTDATED = "migrate"
LOGGING = {**LOGGING, "loggers": {"dsud": {"level": "INFO", "handlers": ["everything"]}}}
LOGGING["handlers"] = {**LOGGING["handlers"], "everything": {"class": "logging.StreamHandler"}}
