"""Plain Django with a SQLite file for each writer, whose name is said with each query: what its ORM could reach."""

from benchmarks.diary.settings.common import *
from benchmarks.diary.settings.common import BASE_DIR, SQLITE, STOCK_APPS

INSTALLED_APPS = [*STOCK_APPS, "benchmarks.diary.apart"]
# As many as there are writers in any benchmark.
DATABASES = {
    "default": SQLITE,
    **{f"own{each}": {**SQLITE, "NAME": BASE_DIR / f"own{each}.sqlite3"} for each in range(32)},
}
