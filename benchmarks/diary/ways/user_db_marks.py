"""The app of the notes, marked as django-sqlite-user-db 0.1 wants an app for user databases marked."""

from django.apps import AppConfig
from dsud.decorators import user_specific_app_config


@user_specific_app_config
class Apart(AppConfig):
    """All models of the app live in user databases."""

    name = "benchmarks.diary.apart"
