"""An assertion that a project makes about its own models and views: nobody reaches another's rows."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from django.db import models
from django.db.models import Model

from dsud.context import current_user_id, outside, use_user
from dsud.exceptions import NoActiveUser, WrongUser
from dsud.router import is_user_model
from dsud.testing.ambient import owner_field
from dsud.testing.clients import Client
from dsud.testing.factories import create_user

#: Values for fields that a row cannot do without, by the kind of field.
_SAMPLES: dict[type[models.Field[object, object]], object] = {
    models.BooleanField: True,
    models.DateField: "2000-01-01",
    models.DateTimeField: "2000-01-01T00:00Z",
    models.DurationField: "1",
    models.JSONField: {},
    models.TimeField: "00:00",
    models.UUIDField: "00000000-0000-0000-0000-000000000000",
    models.DecimalField: 1,
    models.FloatField: 1,
    models.IntegerField: 1,
}


def assert_isolated(
    model: type[Model],
    *,
    create: Callable[[str], Model] | None = None,
    views: Iterable[str] = (),
) -> None:
    """Assert that a user reaches their rows of a model, and nobody else does.

    Two users are created with a row each. ``create`` makes a row for the active user and puts the
    text that it gets into it; without it, a text field is filled. Each of ``views`` is an address,
    in which ``{pk}`` stands for the row's key; the other user's page must not contain the text.
    Raises ``AssertionError`` with what was reached, and ``TypeError`` when a row needs ``create``.
    """
    if not is_user_model(model):
        raise AssertionError(
            f"{model._meta.label} is no user model, so its rows are in one table for all users."
            " Name it in DSUD_APPS."
        )
    make = create or (lambda text: _row_with_text(model, text))
    owner, other = create_user(), create_user()
    text = f"secret-{secrets.token_hex(8)}"
    with outside():
        with use_user(owner.pk):
            row = make(text)
        with use_user(other.pk):
            theirs = make("other")
        _assert_rows_apart(model, row, theirs, other=other)
        _assert_nobody_reads(model)
        for address in views:
            _assert_page_without(address.format(pk=row.pk), text, other=other)


def _row_with_text(model: type[Model], text: str) -> Model:
    values: dict[str, object] = {}
    kinds = (models.CharField, models.TextField)
    for field in model._meta.concrete_fields:
        if isinstance(field, kinds) and not field.choices and text not in values.values():
            values[field.name] = text
        elif not (field.primary_key or field.has_default() or field.null or field.blank):
            values[field.attname] = _sample(model, field)
    if text not in values.values():
        raise TypeError(f"{model._meta.label} has no text field. Pass `create`, which gets a text.")
    return model._default_manager.create(**values)


def _sample(model: type[Model], field: models.Field[object, object]) -> object:
    if field is owner_field(model):
        return current_user_id()
    for kind in type(field).__mro__:
        if kind in _SAMPLES:
            return field.to_python(_SAMPLES[kind])
    raise TypeError(
        f"{model._meta.label}.{field.name} needs a value that cannot be made up."
        " Pass `create`, which gets a text and returns a new row."
    )


def _assert_rows_apart(model: type[Model], row: Model, theirs: Model, *, other: Model) -> None:
    rows = model._base_manager
    with use_user(other.pk):
        found = list(rows.values_list("pk", flat=True))
        if found != [theirs.pk]:
            raise AssertionError(f"Another user finds the rows {found!r} of {model._meta.label}.")
        with _refused("saved"):
            row.save()
        with _refused("refreshed"):
            row.refresh_from_db()
        with _refused("deleted"):
            row.delete()


@contextmanager
def _refused(what: str) -> Iterator[None]:
    try:
        yield
    except WrongUser:
        return
    raise AssertionError(f"A row was {what} while another user was active.")


def _assert_nobody_reads(model: type[Model]) -> None:
    try:
        model._base_manager.first()
    except NoActiveUser:
        return
    raise AssertionError(f"{model._meta.label} can be read with nobody active.")


def _assert_page_without(address: str, text: str, *, other: Model) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(other)  # type: ignore[arg-type]
    response = client.get(address)
    content = b"".join(response) if response.streaming else response.content
    if text in content.decode(errors="replace"):
        raise AssertionError(f"{address} shows another user's row.")
