"""django-tenants 4.0.1 on PostgreSQL: a schema for each user, chosen by the host name, as its README says.

Its documentation offers host names, and paths that it calls beta; its fastest setting is on.
Schemas are made by migrations, because cloning one took longer, as its documentation warns.
"""

from benchmarks.diary.settings.common import *
from benchmarks.diary.settings.common import ALLOWED_HOSTS, MIDDLEWARE, STOCK_APPS
from benchmarks.diary.settings.postgresql import DATABASES as _DATABASES

WAY = "benchmarks.diary.ways.tenants"
SHARED_APPS = ["django_tenants", "benchmarks.diary.customers", *STOCK_APPS]
TENANT_APPS = ["benchmarks.diary.apart"]
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL = "customers.Client"
TENANT_DOMAIN_MODEL = "customers.Domain"
TENANT_LIMIT_SET_CALLS = True
ALLOWED_HOSTS = [*ALLOWED_HOSTS, ".diary.example"]
MIDDLEWARE = ["django_tenants.middleware.main.TenantMainMiddleware", *MIDDLEWARE]
DATABASES = {"default": {**_DATABASES["default"], "ENGINE": "django_tenants.postgresql_backend"}}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
