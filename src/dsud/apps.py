"""The only start-up wiring: who calls whom, decided once when the apps are ready."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.contrib.auth import get_user_model
from django.db.models.signals import post_delete, post_save
from django.utils.translation import gettext_lazy as _


class DSUDConfig(AppConfig):
    """The app behind ``"dsud"`` in ``INSTALLED_APPS``."""

    name = "dsud"
    verbose_name = _("User databases")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the query path with what makes, deletes and checks user databases."""
        from dsud import checks, lifecycle, provisioning, switch
        from dsud.connections import resolve_aliases_on_demand
        from dsud.engines.base import provide_missing_with

        resolve_aliases_on_demand()
        provide_missing_with(provisioning.provide)
        checks.register_checks()
        switch.connect()
        # Each class that saves a user sends its own signals, proxies and children included.
        for model in apps.get_models():
            if issubclass(model, get_user_model()):
                post_save.connect(provisioning.expect_database, sender=model)
                post_delete.connect(lifecycle.delete_with_user, sender=model)
