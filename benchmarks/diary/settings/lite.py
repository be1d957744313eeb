"""dj-lite-tenant 0.2.0, set up as its README says, with connections that stay open between requests."""

import os

from dj_lite import sqlite_config

from benchmarks.diary.settings.common import *
from benchmarks.diary.settings.common import (
    BASE_DIR,
    CONN_MAX_AGE,
    MIDDLEWARE,
    SQLITE,
    STOCK_APPS,
    SYNCHRONOUS,
)

WAY = "benchmarks.diary.ways.lite"
INSTALLED_APPS = [*STOCK_APPS, "dj_lite_tenant", "benchmarks.diary.apart"]
MIDDLEWARE = [*MIDDLEWARE, "dj_lite_tenant.middleware.TenantDatabaseMiddleware"]
DATABASES = {"default": SQLITE}
DATABASE_ROUTERS = ["dj_lite_tenant.routers.TenantDatabaseRouter"]
_TENANTS = BASE_DIR / "tenants"
_TEMPLATE = os.environ.get("BENCH_TEMPLATE") == "1"
# Its own choice of pragmas, but as durable and as patient as everybody else.
# With its template no WAL: it copies the file of a connection that is open, without what is in the
# WAL, and all later databases have no tables.
_OPTIONS = sqlite_config(
    _TENANTS,
    synchronous=SYNCHRONOUS,
    timeout=20,
    journal_mode="DELETE" if _TEMPLATE else "WAL",
)["OPTIONS"]
DJ_LITE_TENANT = {
    "DIR": _TENANTS,
    "APPS": {"apart"},
    "MAX_OPEN_CONNECTIONS": int(os.environ.get("BENCH_MAX_OPEN", "100")),
    "USE_DATABASE_TEMPLATE": _TEMPLATE,
    # All of them, because what is given here replaces its defaults.
    "TENANT_SETTINGS": {
        "CONN_MAX_AGE": CONN_MAX_AGE,
        "CONN_HEALTH_CHECKS": False,
        "TIME_ZONE": None,
        "AUTOCOMMIT": True,
        "ATOMIC_REQUESTS": False,
        "TEST": {"NAME": None},
        "OPTIONS": _OPTIONS,
    },
}
