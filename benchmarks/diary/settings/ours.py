"""dsud: a database for every user; `default` as in the plain site."""

import os

from benchmarks.diary.settings.common import *
from benchmarks.diary.settings.common import BASE_DIR, MIDDLEWARE, SQLITE, STOCK_APPS, SYNCHRONOUS

WAY = "benchmarks.diary.ways.ours"
INSTALLED_APPS = [*STOCK_APPS, "dsud", "benchmarks.diary.apart"]
MIDDLEWARE = [*MIDDLEWARE, "dsud.middleware.DatabaseSwitchMiddleware"]
DATABASES = {"default": SQLITE}
DATABASE_ROUTERS = ["dsud.router.UserSpecificDatabaseRouter"]
DSUD_APPS = ["apart"]
USER_DATABASES = {
    "default": {
        "ENGINE": "dsud.engines.sqlite",
        "LOCATION": BASE_DIR / "user_databases",
        "OPTIONS": {"synchronous": SYNCHRONOUS, "timeout": 20},
    }
}
DSUD_MAX_OPEN = int(os.environ["BENCH_MAX_OPEN"]) if "BENCH_MAX_OPEN" in os.environ else None
