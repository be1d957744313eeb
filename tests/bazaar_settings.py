"""Settings of a site with an app of both sides, of which single models are named."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "tests.bazaar"]
DSUD_APPS = ["notes", "bazaar.Ware", "bazaar.Label"]
