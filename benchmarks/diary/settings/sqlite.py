"""Plain Django: one SQLite database, and a column for the owner."""

from benchmarks.diary.settings.common import *
from benchmarks.diary.settings.common import SQLITE, STOCK_APPS

INSTALLED_APPS = [*STOCK_APPS, "benchmarks.diary.together"]
DATABASES = {"default": SQLITE}
