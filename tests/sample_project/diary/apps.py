from django.apps import AppConfig


class DiaryConfig(AppConfig):
    name = "diary"

    def ready(self):
        from . import signals  # noqa: F401
