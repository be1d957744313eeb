"""Settings of the site once its app and the rows of packages live in user databases."""

from tests.lab.single_settings import *
from tests.lab.single_settings import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = ["dsud", *INSTALLED_APPS]
MIDDLEWARE = [*MIDDLEWARE, "dsud.middleware.DatabaseSwitchMiddleware"]
DATABASE_ROUTERS = ["dsud.router.UserSpecificDatabaseRouter"]
OURS = ("Paper", "HistoricalPaper", "Page", "Shelf", "Branch")
DSUD_APPS = [*(f"lab.{name}" for name in OURS), "taggit"]
DSUD_PROVISION = ["first_use"]
