"""The only start-up wiring: who calls whom, decided once when the apps are ready."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.contrib.auth import get_user_model
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext_lazy as _

from dsud import (
    asynchronous,
    collector,
    data_migrations,
    editors,
    generic,
    guards,
    methods,
    objects,
    results,
    transactions,
)
from dsud.connections import key_of_alias, resolve_aliases_on_demand
from dsud.engines.hooks import (
    ask_before_cursors,
    judge_schemas_with,
    keep_copies_in,
    provide_missing_with,
)
from dsud.engines.scratch import scratch


class DSUDConfig(AppConfig):
    """The app behind ``"dsud"`` in ``INSTALLED_APPS``."""

    name = "dsud"
    verbose_name = _("User databases")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the query path with what makes, deletes and checks user databases."""
        # Not before, because they import models.
        from dsud import (
            checks,
            history,
            lifecycle,
            mirrored,
            mirrors,
            outdated,
            provisioning,
            switch,
        )

        scratch.remember_configured()
        resolve_aliases_on_demand()
        provide_missing_with(provisioning.provide)
        judge_schemas_with(outdated.judge)
        keep_copies_in(mirrored.copied_tables)
        guards.install()
        results.install()
        objects.install()
        methods.install()
        transactions.install()
        collector.install()
        generic.install()
        editors.install()
        data_migrations.install()
        asynchronous.install()
        ask_before_cursors(before_cursor, before_use=guards.refuse_cursor)
        checks.register_checks()
        switch.connect()
        history.connect()
        mirrors.connect()
        for model in apps.get_models():
            if issubclass(model, get_user_model()):
                lifecycle.connect(model)


def before_cursor(connection: BaseDatabaseWrapper) -> None:
    """Refuse another user's database, and let the active user's join the open transaction."""
    if (owner := key_of_alias(connection.alias)) is not None:
        guards.refuse_cursor(owner)
        transactions.join(connection)
