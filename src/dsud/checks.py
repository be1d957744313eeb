"""What can be wrong with a set-up: found by ``manage.py check``, each with the line to paste."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import suppress

from django.apps import AppConfig, apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import CreateModel
from django.db.models import Model
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.utils.module_loading import import_string

from dsud import switch
from dsud.conf import conf
from dsud.engines import engine
from dsud.engines.abilities import DISTINCT_KEYS
from dsud.engines.sqlite.checks import may_lose_commits
from dsud.exceptions import InvalidEngine
from dsud.key_ranges import has_wide_keys
from dsud.middleware import DatabaseSwitchMiddleware
from dsud.model_checks import check_crossing, check_mirrors
from dsud.router import (
    APP_ATTRIBUTE,
    UserSpecificDatabaseRouter,
    is_user_model,
)
from dsud.schema import user_models
from dsud.setting_checks import check_settings

MIDDLEWARE = "dsud.middleware.DatabaseSwitchMiddleware"
ROUTER = "dsud.router.UserSpecificDatabaseRouter"

#: Apps whose tables Django itself reads from ``default`` in every request.
ALWAYS_SHARED = {"admin", "auth", "contenttypes", "sessions", "dsud"}


def register_checks() -> None:
    """Tell Django about every check."""
    for check in (check_middleware, check_router, check_settings):
        register(check, Tags.compatibility)
    register(check_models, Tags.models)
    register(check_crossing, Tags.models)
    register(check_mirrors, Tags.models)
    register(check_engine, Tags.files)
    register(check_distinct_keys, Tags.models)
    register(check_urls, Tags.urls)
    register(check_sqlite_version, Tags.security, deploy=True)


# MIDDLEWARE and DATABASE_ROUTERS


def check_middleware(**kwargs: object) -> Iterator[CheckMessage]:
    """Look for the middleware, after the one that authenticates."""
    ours = _position(settings.MIDDLEWARE, DatabaseSwitchMiddleware)
    if ours is None:
        yield Error(
            "The middleware that chooses the user's database is not installed.",
            hint=f'Add "{MIDDLEWARE}" to MIDDLEWARE, after AuthenticationMiddleware.',
            id="dsud.E001",
        )
        return
    authentication = _position(settings.MIDDLEWARE, AuthenticationMiddleware)
    if authentication is not None and ours < authentication:
        yield Error(
            "The middleware that chooses the user's database comes before the one that"
            " authenticates the user.",
            hint=f'Move "{MIDDLEWARE}" below AuthenticationMiddleware in MIDDLEWARE.',
            id="dsud.E002",
        )


def check_router(**kwargs: object) -> Iterator[CheckMessage]:
    """Look for the router, before all others."""
    ours = _position(settings.DATABASE_ROUTERS, UserSpecificDatabaseRouter)
    if ours is None:
        yield Error(
            "The router that sends user models to user databases is not installed:"
            " their rows would all go to 'default'.",
            hint=f'Set DATABASE_ROUTERS = ["{ROUTER}"].',
            id="dsud.E003",
        )
    elif ours > 0:
        yield Error(
            f"The router {settings.DATABASE_ROUTERS[0]!r} is asked before dsud's and may send"
            " user models elsewhere.",
            hint=f'Put "{ROUTER}" first in DATABASE_ROUTERS.',
            id="dsud.E004",
        )


def _position(paths: Iterable[object], wanted: type) -> int | None:
    """Return where a class, or one that extends it, stands in a list of dotted paths."""
    for index, path in enumerate(paths):
        found = import_string(path) if isinstance(path, str) else path
        if isinstance(found, wanted) or (isinstance(found, type) and issubclass(found, wanted)):
            return index
    return None


# Which models


def check_models(
    app_configs: Iterable[AppConfig] | None = None, **kwargs: object
) -> Iterator[CheckMessage]:
    """Look for typing errors and for models that cannot live where they are put."""
    yield from _check_names()
    for config in apps.get_app_configs():
        yield from _check_app_attribute(config)
    models = [model for model in apps.get_models() if not model._meta.proxy]
    for model in models:
        yield from _check_model(model)
    if not any(map(is_user_model, models)):
        yield CheckWarning(
            "No model lives in user databases.",
            hint='Name the apps whose rows belong to users: DSUD_APPS = ["notes"].',
            id="dsud.W001",
        )


def _check_names() -> Iterator[CheckMessage]:
    labels = {config.label for config in apps.get_app_configs()}
    models = {model._meta.label_lower for model in apps.get_models(include_auto_created=True)}
    for name in conf.DSUD_APPS:
        known = name.lower() in models or name in labels
        if known or ("." in name and name.lower() in set(_past_models())):
            continue
        yield Error(
            f"DSUD_APPS names {name!r}, which is no installed app's label and no model's.",
            hint=_suggestion(name, {*labels, *models}),
            id="dsud.E005",
        )


def _past_models() -> Iterator[str]:
    """Yield the labels of all models that migrations ever created."""
    for (app_label, _), migration in MigrationLoader(None).disk_migrations.items():
        for operation in migration.operations:
            if isinstance(operation, CreateModel):
                yield f"{app_label}.{operation.name_lower}"


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), list(known), n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return 'Write the app\'s label ("notes") or a model\'s ("library.Loan"), not a dotted path.'


def _check_app_attribute(config: AppConfig) -> Iterator[CheckMessage]:
    value = getattr(config, APP_ATTRIBUTE, False)
    if not isinstance(value, bool):
        yield Error(
            f"{type(config).__qualname__}.{APP_ATTRIBUTE} is {value!r}.",
            hint=f"Write {APP_ATTRIBUTE} = True, or leave it out.",
            obj=config,
            id="dsud.E006",
        )
    close = difflib.get_close_matches(APP_ATTRIBUTE, vars(type(config)), n=1, cutoff=0.8)
    if close and close[0] != APP_ATTRIBUTE:
        yield Error(
            f"{type(config).__qualname__}.{close[0]} means nothing.",
            hint=f"Did you mean {APP_ATTRIBUTE} = True?",
            obj=config,
            id="dsud.E006",
        )


def _check_model(model: type[Model]) -> Iterator[CheckMessage]:
    if is_user_model(model):
        if model._meta.app_label in ALWAYS_SHARED or issubclass(model, get_user_model()):
            yield Error(
                f"{model._meta.label} cannot live in user databases, because Django needs it to"
                " find out who the user is.",
                hint=f"Take {model._meta.label} out of DSUD_APPS, or mark it @shared_model.",
                obj=model,
                id="dsud.E007",
            )
        yield from _check_generic_relations(model)
    else:
        yield from _check_shared_model(model)
    for parent in model._meta.parents:
        if is_user_model(parent) != is_user_model(model):
            yield Error(
                f"{model._meta.label} and its parent {parent._meta.label} live in different"
                " databases.",
                hint="Put both of them in DSUD_APPS, or neither.",
                obj=model,
                id="dsud.E009",
            )


def _check_generic_relations(model: type[Model]) -> Iterator[CheckMessage]:
    # Generic relations are the private fields with a related model; contenttypes need not be installed.
    for field in model._meta.private_fields:
        target = field.related_model if field.remote_field else None
        if isinstance(target, type) and issubclass(target, Model) and not is_user_model(target):
            shared = target._meta
            named = f'Add "{shared.app_label}" to DSUD_APPS'
            yield Error(
                f"{model._meta.label}.{field.name} leads to the shared model {shared.label}, which"
                " tells rows apart by type and primary key, and rows of many users have the same.",
                hint=f"{named}, or remove the field."
                if shared.app_label not in ALWAYS_SHARED
                else f"Remove the field: {shared.label} has to stay shared.",
                obj=field,
                id="dsud.E017",
            )


def _check_shared_model(model: type[Model]) -> Iterator[CheckMessage]:
    for field in [*model._meta.local_fields, *model._meta.local_many_to_many]:
        target = field.related_model
        if isinstance(target, type) and is_user_model(target) and not model._meta.parents:
            yield Error(
                f"{model._meta.label}.{field.name} points from a shared model to the user model"
                f" {target._meta.label}, of which each user has rows of their own.",
                hint=f'Add "{model._meta.label}" to DSUD_APPS, or turn the key around.',
                obj=field,
                id="dsud.E008",
            )


# Engine


def check_engine(**kwargs: object) -> list[CheckMessage]:
    """Let the engine look at its own settings."""
    try:
        return engine().check()
    except InvalidEngine as error:
        hint = (
            'Set USER_DATABASES = {"default": {"ENGINE": "dsud.engines.sqlite", "LOCATION": ...}}.'
        )
        return [Error(str(error), hint=hint, id="dsud.E013")]


def check_distinct_keys(**kwargs: object) -> Iterator[CheckMessage]:
    """Look for what cannot have keys of a range, if each user database shall have one."""
    if not conf.DSUD_DISTINCT_KEYS:
        return
    with suppress(InvalidEngine):  # Which is an error of its own.
        if not engine().supports_distinct_keys:
            yield Error(
                "DSUD_DISTINCT_KEYS is set, but the engine of"
                f" USER_DATABASES[{engine().alias!r}] cannot {DISTINCT_KEYS}.",
                hint="Remove DSUD_DISTINCT_KEYS, or choose another engine.",
                id="dsud.E022",
            )
    for model in user_models():
        if model._meta.auto_field is not None and not has_wide_keys(model._meta):
            yield CheckWarning(
                f"The primary keys of {model._meta.label} are too small to differ between users.",
                hint='Set DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField", or give the model'
                " id = models.BigAutoField(primary_key=True), and run `manage.py makemigrations`.",
                obj=model,
                id="dsud.W006",
            )


def check_urls(**kwargs: object) -> Iterator[CheckMessage]:
    """Look for the addresses that the "Switch user" button posts to."""
    if not apps.is_installed("django.contrib.admin") or not _has_switch_button():
        return
    try:
        answers = resolve(reverse("dsud:set_user")).func is switch.set_user
    except (NoReverseMatch, Resolver404):
        answers = False
    if not answers:
        yield CheckWarning(
            'The "Switch user" button is in the admin, but nothing answers it.',
            hint='Add path("admin/", include("dsud.urls", namespace="dsud")) to urlpatterns,'
            ' before path("admin/", admin.site.urls).',
            id="dsud.W002",
        )


def _has_switch_button() -> bool:
    from django.contrib.admin.sites import all_sites

    from dsud.admin import SwitchUserMixin

    users = get_user_model()
    registered = (site.get_model_admin(users) for site in all_sites if site.is_registered(users))
    return any(isinstance(model_admin, SwitchUserMixin) for model_admin in registered)


def check_sqlite_version(**kwargs: object) -> Iterator[CheckMessage]:
    """Look for a SQLite that can lose commits; only ``check --deploy`` asks."""
    if may_lose_commits():
        yield CheckWarning(
            "This SQLite can lose commits when checkpoints of several processes race.",
            hint="Install SQLite 3.51.3 or later, 3.50.7, or 3.44.6.",
            id="dsud.W003",
        )
