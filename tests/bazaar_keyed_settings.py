"""Settings of a site with an app of both sides whose users are of another model."""

from tests.bazaar_settings import *  # noqa: F403
from tests.bazaar_settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [
    *(
        name
        for name in _APPS
        if name not in ("django.contrib.admin", "tests.library", "tests.archive")
    ),
    "tests.keyed",
]
AUTH_USER_MODEL = "keyed.Person"
ROOT_URLCONF = "django.contrib.auth.urls"
