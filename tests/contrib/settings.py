"""Settings of a site with what the bridges of ``dsud.contrib`` lead to, as far as it is installed."""

from importlib.util import find_spec

import django

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "rest_framework", "rest_framework.authtoken"]
ROOT_URLCONF = "tests.contrib.urls"
TASKS = {"default": {"BACKEND": "dsud.contrib.tasks.ImmediateBackend"}}
if django.VERSION >= (6, 0) and find_spec("django_tasks_db"):
    INSTALLED_APPS += ["django_tasks_db"]
    TASKS["stored"] = {"BACKEND": "tests.contrib.stored_tasks.StoredBackend"}
