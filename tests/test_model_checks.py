"""Each check of keys that lead out of user databases, and of what is mirrored there."""

import pytest
import pytest_django
from django.contrib.contenttypes.models import ContentType
from django.core.checks import CheckMessage
from django.db import models
from django.test.utils import isolate_apps

from dsud.model_checks import check_crossing, check_mirrors
from tests.library.models import Book


def crossing() -> dict[str, CheckMessage]:
    """Return what is found, by the field that it names."""
    return {message.msg.split()[0]: message for message in check_crossing()}


def mirrors() -> list[CheckMessage]:
    return list(check_mirrors())


def test_crossing__keys_to_mirrored_models_are_fine() -> None:
    assert set(crossing()) == {"library.Loan.book", "archive.Opinion.book"}


def test_dsud_W004__key_over_which_nothing_can_join() -> None:
    message = crossing()["library.Loan.book"]
    assert message.id == "dsud.W004"
    assert message.msg == (
        "library.Loan.book points to the shared model library.Book, which queries of user databases"
        ' cannot join: filter(book__…=…) and select_related("book") fail, and so does ordering by it.'
    )
    assert message.hint == (
        'If you need that, add "library.Book" to DSUD_MIRRORED_MODELS, or to DSUD_APPS if its rows are'
        " the users' own. If you do not, silence this warning."
    )


def test_dsud_W004__mirrored_or_moved_target(settings: pytest_django.Settings) -> None:
    settings.DSUD_MIRRORED_MODELS = ["auth.User", "library.Book"]
    assert crossing() == {}
    settings.DSUD_MIRRORED_MODELS = []
    assert "library.Loan.reader" in crossing()
    settings.DSUD_APPS = ["notes", "library", "archive"]
    assert set(crossing()) == {"library.Loan.reader", "archive.Opinion.checked_by"}


@isolate_apps("tests.notes", attr_name="registry")
def test_dsud_W005__many_to_many_field(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shelf(models.Model):
        books = models.ManyToManyField(Book)

        class Meta:
            app_label = "notes"

    monkeypatch.setattr("dsud.model_checks.apps.get_models", lambda: [Shelf])
    (message,) = check_crossing()
    assert message.id == "dsud.W005"
    assert message.msg == (
        "notes.Shelf.books is a many-to-many field to the shared model library.Book, whose rows it can"
        " only read by a join, and they are in default."
    )
    assert message.hint == (
        'For it to work, add "library.Book" to DSUD_MIRRORED_MODELS, or to DSUD_APPS if its rows are'
        " the users' own."
    )


def test_mirrors__default_is_fine(settings: pytest_django.Settings) -> None:
    assert mirrors() == []
    settings.DSUD_MIRRORED_MODELS = []
    assert mirrors() == []


def test_dsud_E018__no_model(settings: pytest_django.Settings) -> None:
    settings.DSUD_MIRRORED_MODELS = ["auth.User", "library.Bock"]
    (message,) = mirrors()
    assert message.id == "dsud.E018"
    assert message.msg == "DSUD_MIRRORED_MODELS names 'library.Bock', which is no model's label."


def test_dsud_E019__user_model(settings: pytest_django.Settings) -> None:
    settings.DSUD_MIRRORED_MODELS = ["auth.User", "notes.Note"]
    (message,) = mirrors()
    assert message.id == "dsud.E019"
    assert message.hint == "Take 'notes.Note' out of DSUD_MIRRORED_MODELS or out of DSUD_APPS."


@pytest.mark.parametrize(
    "name", ["passwort", "auth.User.passwort", "library.Book.title", "auth.User"]
)
def test_dsud_E020__no_field(settings: pytest_django.Settings, name: str) -> None:
    settings.DSUD_UNMIRRORED_FIELDS = ["password", name]
    (message,) = mirrors()
    assert message.id == "dsud.E020"
    assert message.msg == f"DSUD_UNMIRRORED_FIELDS names {name!r}, which no mirrored model has."


def test_dsud_E021__field_that_cannot_be_empty(settings: pytest_django.Settings) -> None:
    settings.DSUD_UNMIRRORED_FIELDS = ["id"]
    (message,) = mirrors()
    assert message.id == "dsud.E021"
    assert message.obj.name == "id"
    settings.DSUD_UNMIRRORED_FIELDS = ["email", "last_login", "is_staff", "date_joined"]
    assert mirrors() == []
    settings.DSUD_UNMIRRORED_FIELDS = ["contenttypes.ContentType.app_label"]
    assert mirrors() == []
    assert ContentType._meta.get_field("app_label").get_default() == ""
