"""``manage.py dumpdata``: Django's, which says what it leaves out because users have it."""

from __future__ import annotations

from collections.abc import Iterable

from django.apps import apps
from django.core.management.base import CommandError
from django.core.management.commands import dumpdata
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model

from dsud.router import is_user_model


class Command(dumpdata.Command):
    """Dump shared rows; refuse to dump nothing where only users' rows are asked for."""

    def handle(self, *app_labels: str, **options: object) -> None:
        """Look whether user models are among those that are named, or all."""
        if options["database"] == DEFAULT_DB_ALIAS:
            self._tell_what_is_left_out(app_labels)
        super().handle(*app_labels, **options)

    def _tell_what_is_left_out(self, app_labels: tuple[str, ...]) -> None:
        """Raise ``CommandError`` when nothing would be left, because an empty dump looks like one."""
        named = list(_named(app_labels)) if app_labels else apps.get_models()
        left_out = sorted(model._meta.label for model in named if is_user_model(model))
        if not left_out:
            return
        asked = " ".join(app_labels) or "..."
        message = (
            f"The rows of {', '.join(left_out)} live in user databases. Dump them with"
            f" `manage.py run_on_user_dbs dumpdata {asked}`."
        )
        if len(left_out) == len(named):
            raise CommandError(message)
        self.stderr.write(self.style.WARNING(f"Left out: {message}"))


def _named(app_labels: Iterable[str]) -> Iterable[type[Model]]:
    for label in app_labels:
        app_label, _, name = label.partition(".")
        for model in apps.get_models():
            if model._meta.app_label == app_label and name.lower() in ("", model._meta.model_name):
                yield model
