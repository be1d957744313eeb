"""Settings of the household's site with a database for every user: the guide's lines and no more."""

from household.single_settings import *
from household.single_settings import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = [*INSTALLED_APPS, "dsud"]
MIDDLEWARE = [*MIDDLEWARE, "dsud.middleware.DatabaseSwitchMiddleware"]
DATABASE_ROUTERS = ["dsud.router.UserSpecificDatabaseRouter"]
TEST_RUNNER = "dsud.test_runner.UserSQLiteDBManagerTestRunner"

DSUD_APPS = ["diary", "recipes", "reading"]
USER_SQLITE_DB_MANAGER_TEST_USER_DETAILS = [
    {"id": 1337, "username": "user_1337", "password": "secret"},
    {"id": 1338, "username": "user_1338", "password": "secret"},
]
