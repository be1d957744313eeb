"""Plain Django with rows that are nobody's: what a request costs that asks for no owner."""

from benchmarks.diary.settings.common import *
from benchmarks.diary.settings.common import SQLITE, STOCK_APPS

INSTALLED_APPS = [*STOCK_APPS, "benchmarks.diary.apart"]
DATABASES = {"default": SQLITE}
