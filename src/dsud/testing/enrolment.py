"""The users of the settings, whom every test finds with their databases."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.db.models import Model

from dsud import models as registry
from dsud import provisioning
from dsud.conf import conf
from dsud.context import user_key
from dsud.engines import engine


def enrol_users() -> list[Model]:
    """Create the users of ``USER_SQLITE_DB_MANAGER_TEST_USER_DETAILS`` with their databases."""
    withdraw_users()  # Those that an interrupted run left in a database that is kept.
    create_user = get_user_model()._default_manager.create_user
    users: list[Model] = []
    for details in conf.USER_SQLITE_DB_MANAGER_TEST_USER_DETAILS:
        user = create_user(**details)  # type: ignore[arg-type]  # The project names the arguments.
        ensure_database(user)
        users.append(user)
    return users


def withdraw_users() -> None:
    """Delete the users that ``enrol_users`` creates, and their databases with them."""
    model = get_user_model()
    for details in conf.USER_SQLITE_DB_MANAGER_TEST_USER_DETAILS:
        names = {"pk", "id", model._meta.pk.name, model.USERNAME_FIELD}
        for name in names & set(details):
            for user in model._base_manager.filter(**{name: details[name]}):
                key = user_key(user)
                user.delete()
                # Because a database that is kept would bring it back with serialized_rollback.
                registry.rows(key).delete()


def ensure_database(user: Model) -> None:
    """Make a user's database unless the sign-up did, which DSUD_PROVISION may keep it from."""
    key = user_key(user)
    if not engine().serves(key):
        provisioning.provision(key)
