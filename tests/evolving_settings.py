"""The settings of the test suite, with an app that has a history."""

from tests.settings import *  # noqa: F403
from tests.settings import DSUD_APPS, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.evolving"]
DSUD_APPS = [*DSUD_APPS, "evolving"]
