"""Plain Django with rows that are nobody's: what a request costs that asks for no owner."""

from benchmarks.diary.settings.common import *
from benchmarks.diary.settings.common import MIDDLEWARE, SQLITE, STOCK_APPS

INSTALLED_APPS = [*STOCK_APPS, "benchmarks.diary.apart"]
# Asks who the user is, as all others do, because no view does.
MIDDLEWARE = [*MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
DATABASES = {"default": SQLITE}
