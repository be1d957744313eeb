"""What can be wrong with keys that lead out of user databases, and with what is mirrored there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.apps import AppConfig, apps
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field, Model

from dsud.conf import conf
from dsud.mirrored import is_of_users, left_empty, mirrored_models
from dsud.renames import installed
from dsud.router import is_mirrored, is_user_model


def check_crossing(
    app_configs: Iterable[AppConfig] | None = None, **kwargs: object
) -> Iterator[CheckMessage]:
    """Look for keys of user models over which no query can join, because their target is elsewhere."""
    for model in filter(is_user_model, apps.get_models()):
        for field in model._meta.local_fields:
            if _leads_out(field):
                yield _unjoinable(field)
        for field in model._meta.local_many_to_many:
            if _leads_out(field):
                yield _unreadable(field)


def _leads_out(field: Field[object, object]) -> bool:
    target = field.related_model
    if not isinstance(target, type) or not issubclass(target, Model):
        return False
    return not is_user_model(target) and not is_mirrored(target)


def _remedy(label: str) -> str:
    return f'add "{label}" to DSUD_MIRRORED_MODELS, or to DSUD_APPS if its rows are the users\' own'


def _unjoinable(field: Field[object, object]) -> CheckMessage:
    target = field.related_model._meta.label  # type: ignore[union-attr]
    return CheckWarning(
        f"{field.model._meta.label}.{field.name} points to the shared model {target}, which queries"
        f" of user databases cannot join: filter({field.name}__…=…) and"
        f' select_related("{field.name}") fail, and so does ordering by it.',
        hint=f"If you need that, {_remedy(target)}. If you do not, silence this warning.",
        obj=field,
        id="dsud.W004",
    )


def _unreadable(field: Field[object, object]) -> CheckMessage:
    target = field.related_model._meta.label  # type: ignore[union-attr]
    return CheckWarning(
        f"{field.model._meta.label}.{field.name} is a many-to-many field to the shared model {target},"
        " whose rows it can only read by a join, and they are in default.",
        hint=f"For it to work, {_remedy(target)}.",
        obj=field,
        id="dsud.W005",
    )


# What is mirrored


def check_mirrors(
    app_configs: Iterable[AppConfig] | None = None, **kwargs: object
) -> Iterator[CheckMessage]:
    """Look at the settings that say what is mirrored."""
    for name in conf.DSUD_MIRRORED_MODELS:
        if (model := installed(name)) is None:
            yield Error(
                f"DSUD_MIRRORED_MODELS names {name!r}, which is no model's label.",
                hint='Write the label of a shared model: "library.Book".',
                id="dsud.E018",
            )
        elif is_user_model(model):
            yield Error(
                f"DSUD_MIRRORED_MODELS names {name!r}, whose rows live in user databases already.",
                hint=f"Take {name!r} out of DSUD_MIRRORED_MODELS or out of DSUD_APPS.",
                obj=model,
                id="dsud.E019",
            )
    yield from _check_what_stays_empty()


def _check_what_stays_empty() -> Iterator[CheckMessage]:
    for name in conf.DSUD_UNMIRRORED_FIELDS:
        if not any(_has_field(model, name) for model in (get_user_model(), *mirrored_models())):
            yield Error(
                f"DSUD_UNMIRRORED_FIELDS names {name!r}, which no mirrored model has.",
                hint='Write a field of the user model ("password") or of another one ("shop.Item.cost").',
                id="dsud.E020",
            )
    for model in mirrored_models():
        for field in model._meta.local_concrete_fields:
            if field.name in left_empty(model) and not _can_be_empty(field):
                yield Error(
                    f"{model._meta.label}.{field.name} cannot stay empty in copies: it is no text, has"
                    " no default and may not be NULL.",
                    hint="Take it out of DSUD_UNMIRRORED_FIELDS, or give it null=True or a default.",
                    obj=field,
                    id="dsud.E021",
                )


def _has_field(model: type[Model], name: str) -> bool:
    label, _, field = name.rpartition(".")
    if label.lower() != model._meta.label_lower and (label or not is_of_users(model)):
        return False
    try:
        model._meta.get_field(field)
    except FieldDoesNotExist:
        return False
    return True


def _can_be_empty(field: Field[object, object]) -> bool:
    if field.primary_key:
        return False
    return field.null or field.get_default() is not None
