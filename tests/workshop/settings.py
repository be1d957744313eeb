"""Settings of the site once its app lives in user databases."""

import os

from tests.workshop.single_settings import *
from tests.workshop.single_settings import BASE_DIR, INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = ["dsud", *INSTALLED_APPS]
MIDDLEWARE = [*MIDDLEWARE, "dsud.middleware.DatabaseSwitchMiddleware"]
DATABASE_ROUTERS = ["dsud.router.UserSpecificDatabaseRouter"]
DSUD_APPS = ["workshop"]
# So that a database is made by the split only, or when a test asks for one.
DSUD_PROVISION = ["first_use"]
if "WORKSHOP_ENGINE" in os.environ:
    USER_DATABASES = {
        "default": {"ENGINE": os.environ["WORKSHOP_ENGINE"], "LOCATION": BASE_DIR / "elsewhere"}
    }
