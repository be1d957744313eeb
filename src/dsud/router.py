"""Which models live in user databases, told to Django."""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import TypeVar, cast

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Field, Model

from dsud.conf import conf
from dsud.connections import alias_of, key_of_alias
from dsud.context import (
    active_alias,
    active_key,
    current_activation,
    current_entry,
    stand_in,
    user_key,
)
from dsud.engines.hooks import may_write_copies
from dsud.exceptions import UserDatabaseReadOnly, WrongUser
from dsud.renames import current_label, installed, renamed

M = TypeVar("M", bound=type[Model])

#: The attribute of an AppConfig by which its author marks the whole app.
APP_ATTRIBUTE = "user_databases"

#: The hint of RunPython and RunSQL that says on which side an operation belongs.
HINT = "user_databases"

#: The hint with the key about which an engine asks whether the database may constrain it.
CONSTRAINED = "constrained"

#: Aliases of databases that hold user models but belong to no user.
TEMPLATE_ALIAS = "dsud_template"

#: Settings by which models are classified.
DECISIVE = {
    "AUTH_USER_MODEL",
    "DSUD_APPS",
    "DSUD_MIRRORED_MODELS",
    "INSTALLED_APPS",
    "MIGRATION_MODULES",
}

#: The alias that a data migration works on: every model is read and written there.
migrating: ContextVar[str | None] = ContextVar("dsud_migrating", default=None)

_marked: dict[str, bool] = {}


def user_model(model: M) -> M:
    """Say on a model class that its rows live in user databases."""
    return _mark(model, in_user_databases=True)


def shared_model(model: M) -> M:
    """Say on a model class that its rows live in ``default``, also when its app's do not."""
    return _mark(model, in_user_databases=False)


def _mark(model: M, *, in_user_databases: bool) -> M:
    # By label, because the historical models of migrations are other classes.
    _marked[model._meta.label_lower] = in_user_databases
    _forget_classification()
    return model


def marked_labels() -> dict[str, bool]:
    """Return the labels that decorators marked: True for user models."""
    return dict(_marked)


def is_user_app(app_label: str) -> bool:
    """Tell whether a whole app was named or marked by its author."""
    if app_label in conf.DSUD_APPS:
        return True
    config = apps.app_configs.get(app_label)
    return bool(getattr(config, APP_ATTRIBUTE, False))


@functools.cache
def classify(app_label: str, model_name: str) -> bool:
    """Tell by label whether a model lives in user databases, also one that no longer exists."""
    label = current_label(f"{app_label}.{model_name}")
    if label in _marked:
        return _marked[label]
    if label in {name.lower() for name in conf.DSUD_APPS if "." in name}:
        return True
    return is_user_app(app_label)


def _classify_model(model: type[Model]) -> bool:
    meta = model._meta
    # A proxy lives where its model does, and so does the table of a many-to-many field.
    original = meta.concrete_model if meta.proxy else meta.auto_created
    if original:
        return is_user_model(cast("type[Model]", original))
    return classify(meta.app_label, str(meta.model_name))


_remembered = functools.cache(_classify_model)


def is_user_model(model: type[Model] | Model) -> bool:
    """Tell whether the rows of a model live in user databases."""
    meta = model._meta
    # Historical models are not remembered, because every migration makes new ones.
    return _remembered(meta.model) if meta.apps is apps else _classify_model(meta.model)


@functools.cache
def mirrored_labels() -> frozenset[str]:
    """Return the labels of the mirrored models, and of the parents whose columns are theirs."""
    labels: set[str] = set()
    for name in conf.DSUD_MIRRORED_MODELS:
        labels.add(name.lower())
        if (model := installed(name)) is not None:
            labels.update(parent._meta.label_lower for parent in model._meta.get_parent_list())
    return frozenset(labels)


def is_mirrored(model: type[Model] | Model) -> bool:
    """Tell whether each user database holds a copy of a model's shared rows, or of some of them."""
    meta = model._meta
    concrete = meta.concrete_model._meta if meta.proxy and meta.concrete_model else meta
    return not is_user_model(model) and _is_mirrored_label(concrete.label_lower)


def has_copies(model: type[Model]) -> bool:
    """Tell whether user databases have a table of a model's copies, which dsud fills and empties."""
    return not model._meta.proxy and model._meta.managed and is_mirrored(model)


@functools.cache
def _is_mirrored_label(label: str) -> bool:
    return current_label(label) in mirrored_labels()


def has_user_models(app_label: str) -> bool:
    """Tell whether any model of an app, past ones included, lives in user databases."""
    return (
        is_user_app(app_label)
        or any(name.split(".")[0] == app_label for name in conf.DSUD_APPS)
        or any(marked and label.split(".")[0] == app_label for label, marked in _marked.items())
    )


def has_shared_models(app_label: str) -> bool:
    """Tell whether any model of an app lives in ``default``."""
    if not is_user_app(app_label):
        return True
    return any(not marked and label.split(".")[0] == app_label for label, marked in _marked.items())


def _forget_classification() -> None:
    classify.cache_clear()
    _remembered.cache_clear()
    mirrored_labels.cache_clear()
    _is_mirrored_label.cache_clear()
    renamed.cache_clear()


def reset_classification(*, setting: str, **kwargs: object) -> None:
    """Classify anew after a setting that decides it has changed."""
    if setting in DECISIVE:
        _forget_classification()


setting_changed.connect(reset_classification, dispatch_uid="dsud.router.reset_classification")


def holds_user_models(alias: str) -> bool:
    """Tell whether an alias names a user database, or the template of one."""
    if alias in settings.DATABASES:
        return False
    return key_of_alias(alias) is not None or alias.startswith(TEMPLATE_ALIAS)


def _database_for(model: type[Model], instance: object, *, reads: bool) -> str | None:
    if (here := migrating.get()) is not None:
        return here
    row = instance if instance is not None and isinstance(instance, Model) else None
    meta = model._meta  # As in `is_user_model`, which is asked too often for a call.
    if not (_remembered(meta.model) if meta.apps is apps else _classify_model(meta.model)):
        return None if row is None else _database_of_shared(row, reads=reads)
    if row is None and (entry := current_entry()) is not None:
        return entry.activation.alias() or active_alias()  # Which raises.
    return _database_of_users(model, row, reads=reads)


def _database_of_users(model: type[Model], row: Model | None, *, reads: bool) -> str:
    """Return where a user model is reached by a row in hand, or where nobody is active."""
    owner = None if row is None else owner_of(row)
    if current_activation() is None:
        if owner is not None and reads:
            return alias_of(owner)  # Outside of requests, a row in hand is read where it came from.
        standing = stand_in.get()
        if standing is not None and (alias := standing.alias_for(model, row)) is not None:
            return alias
    alias = active_alias()
    if row is not None:
        owner = owner or _key_of_user(row)
        if owner is not None and alias != alias_of(owner):
            raise WrongUser(owner=owner, active=str(active_key()), what=f"A {row._meta.label}")
    return alias


def _database_of_shared(row: Model, *, reads: bool) -> str | None:
    """Return ``default`` for what a user's row leads to: Django would look where that row is."""
    if owner_of(row) is None:
        return None
    if not reads:
        refuse_copy(row)
    return DEFAULT_DB_ALIAS


def owner_of(instance: Model) -> str | None:
    """Return whose database an instance came from, or None when it came from no user's."""
    return key_of_alias(instance._state.db or "")


def refuse_copy(instance: Model) -> None:
    """Raise ``UserDatabaseReadOnly`` for a copy of a shared row that is about to be written.

    A copy lacks what is not mirrored, so that saving it would empty that in the original.
    """
    owner = owner_of(instance)
    if owner is not None and is_mirrored(instance):
        label = instance._meta.label
        raise UserDatabaseReadOnly(
            owner,
            f"A {label} that was read from the database of user {owner!r} is a copy and cannot be"
            f" written. Read the original: {label}.objects.get(pk={instance.pk!r}).",
        )


def _key_of_user(instance: Model) -> str | None:
    """Return the key of a user who is reached for as an instance: ``bob.note_set`` is bob's."""
    if isinstance(instance, get_user_model()) and instance.pk is not None:
        return user_key(instance)
    return None


class UserSpecificDatabaseRouter:
    """Send user models to the active user's database and leave all others to ``default``."""

    def db_for_read(
        self, model: type[Model], *, instance: object = None, **hints: object
    ) -> str | None:
        """Return the active user's alias for a user model; raise ``NoActiveUser`` without one."""
        return _database_for(model, instance, reads=True)

    def db_for_write(
        self, model: type[Model], *, instance: object = None, **hints: object
    ) -> str | None:
        """Return the active user's alias for a user model; raise ``NoActiveUser`` without one."""
        return _database_for(model, instance, reads=False)

    def allow_relation(self, obj1: Model, obj2: Model, **hints: object) -> bool | None:
        """Allow relations between a user's row and a shared one; leave the rest to Django.

        Raises ``WrongUser`` for rows of two users.
        """
        if migrating.get() is not None:
            return True
        first, second = owner_of(obj1), owner_of(obj2)
        if first is not None and second is not None and first != second:
            raise WrongUser(owner=first, active=second, what=f"A {obj1._meta.label}")
        if is_user_model(obj1) != is_user_model(obj2):
            return True
        return None

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: object
    ) -> bool | None:
        """Keep the tables of user models in user databases and others out, but for mirrored ones.

        A RunPython or RunSQL runs where its app has models, or where its hint says:
        ``hints={"user_databases": True}`` only there, False only in ``default``.
        """
        if model_name is None:
            return _allow_data(db, app_label, hints.get(HINT))
        label = f"{app_label}.{model_name.lower()}"
        model = hints.get("model")
        if isinstance(model, type) and issubclass(model, Model):
            lives_there, mirrored = is_user_model(model), is_mirrored(model)
        else:
            lives_there = classify(app_label, model_name.lower())
            mirrored = _is_mirrored_label(label) and not lives_there
        if not holds_user_models(db):
            return False if lives_there else None
        if lives_there or not mirrored:
            return lives_there or (CONSTRAINED not in hints and _is_built_with(db, app_label))
        if isinstance(key := hints.get(CONSTRAINED), Field):
            return not _may_name_others(key)
        # Not at any time, lest what fills or empties tables, as Django does after migrations, finds it.
        return may_write_copies.get()


def _allow_data(db: str, app_label: str, hint: object) -> bool | None:
    in_user_database = holds_user_models(db)
    if hint is not None:
        return None if hint is in_user_database else False
    if in_user_database:
        return has_user_models(app_label)
    return None if has_shared_models(app_label) else False


def _may_name_others(key: Field[object, object]) -> bool:
    """Tell whether a key may name somebody of whom there is no copy: who is a user's guest, or admin.

    A key that must not be empty says whose the row is; one that may be empty says who else is in it.
    """
    users = get_user_model()
    target = key.related_model
    return key.null and isinstance(target, type) and target._meta.label == users._meta.label


def _is_built_with(db: str, app_label: str) -> bool:
    """Tell whether a template is built with the shared tables of an app that also has user models.

    Its history may need them, from one migration to the next, and they are dropped at the end. Where
    ``default`` is of another vendor they are left out, because they may be made of what only that has.
    """
    if db != TEMPLATE_ALIAS or not has_user_models(app_label):
        return False
    return bool(connections[DEFAULT_DB_ALIAS].vendor == connections[db].vendor)
