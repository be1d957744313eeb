"""Settings of the site: all that says which rows belong to users is ``DSUD_APPS``."""

from pathlib import Path

from tests.settings import *  # noqa: F403
from tests.settings import BASE_DIR, MIDDLEWARE, TEMPLATES

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "dsud",
    "taggit",
    "simple_history",
    "treebeard",
    "mptt",
    "import_export",
    "rest_framework",
    "rest_framework.authtoken",
    "django_filters",
    "tests.packages.bookmarks",
    "tests.packages.journal",
    "tests.packages.outline",
    "tests.packages.folders",
    "tests.packages.work",
    "tests.packages.spending",
]
MIDDLEWARE = [*MIDDLEWARE, "simple_history.middleware.HistoryRequestMiddleware"]
TEMPLATES = [TEMPLATES[0] | {"DIRS": [Path(__file__).parent / "templates"]}]
ROOT_URLCONF = "tests.packages.urls"
MEDIA_ROOT = BASE_DIR / "media"
LOGIN_URL = "/admin/login/"

# The packages' own tables come with the app that uses them; tokens say who somebody is, and stay.
DSUD_APPS = ["taggit", "bookmarks", "journal", "outline", "folders", "work", "spending"]
DSUD_TEST_AMBIENT_USER = False  # As on a site: who is active is said, or nobody is.

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "rest_framework.filters.SearchFilter",
        "rest_framework.filters.OrderingFilter",
    ],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 2,
}
