"""``manage.py loaddata``: Django's, which skips no row because it would be a user's."""

from __future__ import annotations

from django.core.management.base import CommandError
from django.core.management.commands import loaddata
from django.core.serializers.base import DeserializedObject
from django.db import DEFAULT_DB_ALIAS

from dsud.engines.scratch import in_tests
from dsud.router import is_user_model


class Command(loaddata.Command):
    """Load shared rows; refuse rows of user models, of which nothing says whose they are."""

    def save_obj(self, obj: DeserializedObject) -> bool:
        """Save a row; in tests rows go to their owners, or are passed over."""
        saved: bool = super().save_obj(obj)
        if saved or self.using != DEFAULT_DB_ALIAS or in_tests() or not is_user_model(obj.object):
            return saved
        label = obj.object._meta.label
        raise CommandError(
            f"The fixture has a {label}, whose rows live in user databases. Nothing was loaded. Load"
            " it for a user with `manage.py run_on_user_dbs --user NAME loaddata FIXTURE`."
        )
