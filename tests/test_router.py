"""Which models live where: by setting, by app and by decorator."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest
import pytest_django
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import models
from django.db import router as django_router
from django.db.migrations.loader import MigrationLoader
from django.test.utils import isolate_apps

from dsud import router, shared_model, use_user, user_model
from dsud.exceptions import NoActiveUser, WrongUser
from tests.library.models import Book, Loan
from tests.notes.models import Loud, Note, Tag


@pytest.fixture(autouse=True)
def marks() -> Iterator[None]:
    """Forget what a test marks."""
    with mock.patch.dict(router._marked):
        yield
    router._forget_classification()


def test_is_user_model__app_named_in_settings() -> None:
    assert [router.is_user_model(model) for model in (Note, Tag)] == [True, True]
    assert [router.is_user_model(model) for model in (User, Session)] == [False, False]


def test_is_user_model__single_model_named_in_settings() -> None:
    assert router.is_user_model(Loan)
    assert not router.is_user_model(Book)


def test_is_user_model__instance() -> None:
    assert router.is_user_model(Note(text="x"))


def test_is_user_model__through_table_follows_its_model() -> None:
    assert router.is_user_model(Note.tags.through)
    assert not router.is_user_model(User.groups.through)


def test_is_user_model__proxy_follows_its_model() -> None:
    assert router.is_user_model(Loud)


@isolate_apps("tests.library")
def test_is_user_model__proxy_in_another_app_follows_its_model() -> None:
    class Spoken(Note):
        class Meta:
            proxy = True
            app_label = "library"

    assert router.is_user_model(Spoken)


def test_is_user_model__app_marked_by_its_author(settings: pytest_django.Settings) -> None:
    settings.DSUD_APPS = []
    assert not router.is_user_model(Note)
    with mock.patch.object(apps.get_app_config("notes"), "user_databases", new=True, create=True):
        router._forget_classification()
        assert router.is_user_model(Note)


@isolate_apps("tests.library", "tests.notes")
def test_is_user_model__decorators_overrule_the_app() -> None:
    @user_model
    class Wish(models.Model):
        books = models.ManyToManyField("library.Book")

        class Meta:
            app_label = "library"

    @shared_model
    class Template(models.Model):
        class Meta:
            app_label = "notes"

    assert router.is_user_model(Wish)
    assert router.is_user_model(Wish.books.through)
    assert not router.is_user_model(Template)


def test_is_user_model__settings_are_read_live(settings: pytest_django.Settings) -> None:
    settings.DSUD_APPS = ["library"]
    assert router.is_user_model(Book)
    assert not router.is_user_model(Note)


def test_is_user_model__historical_models_are_classified_by_label() -> None:
    state = MigrationLoader(None).project_state()
    historical = state.apps.get_model("notes", "Note")
    assert historical is not Note
    assert router.is_user_model(historical)
    assert router.is_user_model(historical.tags.through)
    assert not router.is_user_model(state.apps.get_model("library", "Book"))


def test_db_for__nobody_active_never_falls_through_to_default() -> None:
    for choose in (django_router.db_for_read, django_router.db_for_write):
        with pytest.raises(NoActiveUser):
            choose(Note)
        assert choose(User) == "default"


def test_db_for__active_user(alice: User, bob: User) -> None:
    with use_user(alice):
        assert django_router.db_for_read(Note) == f"user_{alice.pk}"
        with use_user(bob):
            assert django_router.db_for_write(Loan) == f"user_{bob.pk}"
        assert django_router.db_for_write(Book) == "default"


def test_db_for__shared_row_of_a_user_row_is_looked_up_in_default(alice: User) -> None:
    with use_user(alice):
        loan = Loan.objects.create(book=Book.objects.create(title="Emma"), reader=alice)
        assert loan._state.db == f"user_{alice.pk}"
        again = Loan.objects.get()
        assert (again.book.title, again.reader.username) == ("Emma", "alice")
        assert again.book._state.db == "default"


def test_allow_relation__user_row_and_shared_row(alice: User, bob: User) -> None:
    with use_user(alice):
        note = Note.objects.create(text="x")
        tag = Tag.objects.create(name="y")
    with use_user(bob):
        foreign = Tag.objects.create(name="z")
    assert django_router.allow_relation(note, alice)
    assert django_router.allow_relation(note, tag)
    with pytest.raises(WrongUser):
        django_router.allow_relation(note, foreign)


@pytest.mark.parametrize(
    ("alias", "app_label", "model_name", "verdict"),
    [
        ("default", "notes", "note", False),
        ("default", "notes", "gone", False),
        ("default", "notes", None, False),
        ("default", "library", "loan", False),
        ("default", "library", "book", True),
        ("default", "library", None, True),
        ("default", "auth", "user", True),
        ("user_1", "notes", "note", True),
        ("user_1", "notes", "Gone", True),
        ("user_1", "notes", None, True),
        ("user_1", "library", "Loan", True),
        ("user_1", "library", "book", False),
        ("user_1", "library", None, True),
        ("user_1", "auth", "user", False),
        ("user_1", "auth", None, False),
        ("dsud_template", "notes", "note", True),
        ("dsud_template", "auth", "user", False),
    ],
)
def test_allow_migrate(
    alias: str, app_label: str, model_name: str | None, *, verdict: bool
) -> None:
    assert django_router.allow_migrate(alias, app_label, model_name=model_name) is verdict


@isolate_apps("tests.notes")
def test_allow_migrate__mixed_app_runs_code_on_both_sides() -> None:
    @shared_model
    class Template(models.Model):
        class Meta:
            app_label = "notes"

    assert django_router.allow_migrate("default", "notes")
    assert django_router.allow_migrate("user_1", "notes")


def test_holds_user_models__ordinary_alias_of_the_project(settings: pytest_django.Settings) -> None:
    assert router.holds_user_models("user_1")
    assert not router.holds_user_models("default")
    with mock.patch.dict(settings.DATABASES, {"user_log": {}}):
        assert not router.holds_user_models("user_log")
