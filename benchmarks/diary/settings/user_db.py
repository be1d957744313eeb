"""django-sqlite-user-db 0.1.2, set up as its README says; its connections end with each request by design."""

from benchmarks.diary.settings.common import *
from benchmarks.diary.settings.common import BASE_DIR, MIDDLEWARE, SQLITE, STOCK_APPS

WAY = "benchmarks.diary.ways.user_db"
INSTALLED_APPS = [*STOCK_APPS, "dsud", "benchmarks.diary.ways.user_db_marks.Apart"]
MIDDLEWARE = [*MIDDLEWARE, "dsud.middleware.DatabaseHandlerMiddleware"]
# Its databases take all their settings but the path from `default`: journal, durability, and how long to wait.
DATABASES = {"default": SQLITE}
DATABASE_ROUTERS = ["dsud.routers.DatabaseRouter"]
USER_DB_DIR = BASE_DIR / "user_databases"
USER_DB_DIR.mkdir(exist_ok=True)
