"""Each check: what sets it off, and that a good set-up is clean."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import pytest_django
from django.apps import apps
from django.contrib import admin
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.core.checks import CheckMessage, run_checks
from django.db import connections, models
from django.test.utils import isolate_apps
from django.urls import include, path

import tests.notes
from dsud import checks, router
from dsud.engines.sqlite.checks import may_lose_commits

OURS = "dsud.middleware.DatabaseSwitchMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"


# Django's checks of a model with a JSONField ask the database whether it knows JSON, the first time.
pytestmark = pytest.mark.django_db

KEYS_TO_BOOKS = ("library.Loan.book", "archive.Opinion.book")


class OtherRouter:
    """A project's own router."""


class OurMiddleware(checks.DatabaseSwitchMiddleware):
    """A project's extension of the middleware."""


def found(check_id: str, messages: list[CheckMessage]) -> CheckMessage:
    """Return the one message with this id."""
    (message,) = [message for message in messages if message.id == check_id]
    return message


def dsud_messages(**kwargs: object) -> list[CheckMessage]:
    """Return what our checks say of the settings of the moment."""
    messages = [each for each in run_checks(**kwargs) if str(each.id).startswith("dsud.")]
    # The sites of these tests have keys to books on purpose.
    return [each for each in messages if each.msg.split()[0] not in KEYS_TO_BOOKS]


def test_checks__good_set_up_is_clean() -> None:
    assert dsud_messages() == []


def test_dsud_E001__middleware_missing(settings: pytest_django.Settings) -> None:
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if path != OURS]
    message = found("dsud.E001", dsud_messages())
    assert message.hint == f'Add "{OURS}" to MIDDLEWARE, after AuthenticationMiddleware.'


def test_dsud_E002__middleware_before_authentication(settings: pytest_django.Settings) -> None:
    settings.MIDDLEWARE = [OURS, *[path for path in settings.MIDDLEWARE if path != OURS]]
    message = found("dsud.E002", dsud_messages())
    assert message.hint == f'Move "{OURS}" below AuthenticationMiddleware in MIDDLEWARE.'


def test_dsud_E002__project_without_authentication_is_clean(
    settings: pytest_django.Settings,
) -> None:
    settings.MIDDLEWARE = [OURS]
    assert list(checks.check_middleware()) == []


def test_dsud_E001__extended_middleware_counts(settings: pytest_django.Settings) -> None:
    settings.MIDDLEWARE = [AUTHENTICATION, f"{__name__}.OurMiddleware"]
    assert list(checks.check_middleware()) == []


def test_dsud_E003__router_missing(settings: pytest_django.Settings) -> None:
    settings.DATABASE_ROUTERS = []
    message = found("dsud.E003", dsud_messages())
    assert message.hint == 'Set DATABASE_ROUTERS = ["dsud.router.UserSpecificDatabaseRouter"].'


def test_dsud_E004__another_router_is_asked_first(settings: pytest_django.Settings) -> None:
    settings.DATABASE_ROUTERS = [
        f"{__name__}.OtherRouter",
        "dsud.router.UserSpecificDatabaseRouter",
    ]
    message = found("dsud.E004", dsud_messages())
    assert message.msg.startswith(f"The router '{__name__}.OtherRouter' is asked before")


def test_dsud_E004__router_object_first_is_clean(settings: pytest_django.Settings) -> None:
    settings.DATABASE_ROUTERS = [router.UserSpecificDatabaseRouter(), OtherRouter()]
    assert list(checks.check_router()) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("note", "Did you mean 'notes'?"),
        ("library.Lone", "Did you mean 'library.loan'?"),
        ("tests.notes", "Did you mean"),
        ("zzzzzz", "Write the app's label"),
    ],
)
def test_dsud_E005__name_in_dsud_apps_is_a_typing_error(
    settings: pytest_django.Settings, name: str, hint: str
) -> None:
    settings.DSUD_APPS = ["notes", name]
    message = found("dsud.E005", dsud_messages())
    assert message.msg == (
        f"DSUD_APPS names {name!r}, which is no installed app's label and no model's."
    )
    assert str(message.hint).startswith(hint)


def test_dsud_E005__deleted_model_may_stay_named(settings: pytest_django.Settings) -> None:
    settings.DSUD_APPS = ["notes", "library.Loan", "library.Gone"]
    with mock.patch.object(checks, "_past_models", return_value=iter(["library.gone"])):
        assert dsud_messages() == []


def test_dsud_E005__models_of_migrations_are_past_models() -> None:
    assert {"library.loan", "notes.note"} <= set(checks._past_models())


def test_dsud_E006__attribute_is_no_bool() -> None:
    config = apps.get_app_config("notes")
    with mock.patch.object(config, "user_databases", "yes", create=True):
        message = found("dsud.E006", dsud_messages())
    assert message.hint == "Write user_databases = True, or leave it out."


def test_dsud_E006__attribute_is_misspelt() -> None:
    class NotesConfig(type(apps.get_app_config("notes"))):  # type: ignore[misc]
        user_database = True

    messages = list(checks._check_app_attribute(NotesConfig("tests.notes", tests.notes)))
    assert found("dsud.E006", messages).hint == "Did you mean user_databases = True?"


@pytest.mark.parametrize("name", ["auth", "sessions", "contenttypes", "auth.User", "dsud"])
def test_dsud_E007__app_that_django_needs(settings: pytest_django.Settings, name: str) -> None:
    settings.DSUD_APPS = ["notes", name]
    assert "dsud.E007" in {message.id for message in dsud_messages()}


@isolate_apps("tests.library")
def test_dsud_E008__shared_model_points_to_a_user_model() -> None:
    class Review(models.Model):
        note = models.ForeignKey("notes.Note", on_delete=models.CASCADE)

        class Meta:
            app_label = "library"

    Review._meta.get_field("note").remote_field.model = apps.get_model("notes.Note")
    (message,) = checks._check_model(Review)
    assert (message.id, message.hint) == (
        "dsud.E008",
        'Add "library.Review" to DSUD_APPS, or turn the key around.',
    )


def test_dsud_E009__child_and_parent_in_different_databases() -> None:
    note = apps.get_model("notes.Note")
    with isolate_apps("tests.library"):

        class Story(note):  # type: ignore[misc,valid-type]
            class Meta:
                app_label = "library"

    assert [message.id for message in checks._check_model(Story)] == ["dsud.E009"]


def test_dsud_E017__generic_relation_to_a_shared_model() -> None:
    log, sheet = apps.get_model("admin.LogEntry"), apps.get_model("archive.Sheet")
    with isolate_apps("tests.archive", "tests.library", "django.contrib.contenttypes"):

        class Label(models.Model):
            content_type = models.ForeignKey("contenttypes.ContentType", models.CASCADE)
            object_id = models.PositiveIntegerField()
            target = GenericForeignKey()

            class Meta:
                app_label = "library"

        class Photo(models.Model):
            labels = GenericRelation(Label)
            logged = GenericRelation(log)
            own = GenericRelation(sheet)

            class Meta:
                app_label = "archive"

    relation = (
        "archive.Photo.{} leads to the shared model {}, which tells rows apart by type and primary"
        " key, and rows of many users have the same."
    )
    assert [(each.id, each.msg, each.hint) for each in checks._check_model(Photo)] == [
        (
            "dsud.E017",
            relation.format("labels", "library.Label"),
            'Add "library" to DSUD_APPS, or remove the field.',
        ),
        (
            "dsud.E017",
            relation.format("logged", "admin.LogEntry"),
            "Remove the field: admin.LogEntry has to stay shared.",
        ),
    ]
    assert list(checks._check_model(Label)) == []


def test_dsud_E010__location_cannot_be_written_to(
    settings: pytest_django.Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    location = tmp_path / "file" / "user_databases"
    settings.USER_DATABASES = {"default": {"LOCATION": location}}
    message = found("dsud.E010", dsud_messages())
    assert message.msg == f"The location of user databases, {location}, cannot be written to."


@pytest.mark.parametrize("name", ["MEDIA_ROOT", "STATIC_ROOT"])
def test_dsud_E011__location_is_served(
    settings: pytest_django.Settings, tmp_path: Path, name: str
) -> None:
    setattr(settings, name, str(tmp_path / "public"))
    settings.USER_DATABASES = {"default": {"LOCATION": tmp_path / "public" / "users"}}
    assert name in found("dsud.E011", dsud_messages()).msg


def test_dsud_E012__unknown_setting(settings: pytest_django.Settings) -> None:
    settings.DSUD_APP = ["notes"]
    message = found("dsud.E012", dsud_messages())
    assert (message.msg, message.hint) == (
        "There is no setting DSUD_APP.",
        "Did you mean DSUD_APPS?",
    )


@pytest.mark.parametrize(
    "databases",
    [
        {},
        {"default": {"LOCATION": "/x", "OPTIONS": {"timout": 3}}},
        {"default": {"ENGINE": "no.such.engine", "LOCATION": "/x"}},
    ],
)
def test_dsud_E013__engine_cannot_be_built(
    settings: pytest_django.Settings, databases: object
) -> None:
    settings.USER_DATABASES = databases
    assert "USER_DATABASES" in found("dsud.E013", dsud_messages()).msg


def test_dsud_E014__unknown_moment(settings: pytest_django.Settings) -> None:
    settings.DSUD_PROVISION = ["signup"]
    message = found("dsud.E014", dsud_messages())
    assert message.hint == (
        'Set DSUD_PROVISION = ["sign_up", "first_use"], or one of them, or none.'
    )


@pytest.mark.parametrize("alias", ["user_1", "dsud_template"])
def test_dsud_E015__alias_belongs_to_users(settings: pytest_django.Settings, alias: str) -> None:
    with mock.patch.dict(settings.DATABASES, {alias: connections.settings["default"]}):
        assert found("dsud.E015", list(checks.check_settings())).hint == (
            f"Rename DATABASES[{alias!r}]."
        )


@pytest.mark.parametrize("name", ["DSUD_USER_RESOLVER", "DSUD_SWITCH_PERMISSION"])
@pytest.mark.parametrize("path", ["no.such.thing", "nodots", f"{__name__}.OURS"])
def test_dsud_E016__callable_cannot_be_imported(
    settings: pytest_django.Settings, name: str, path: str
) -> None:
    setattr(settings, name, path)
    assert name in found("dsud.E016", list(checks.check_settings())).msg


def test_dsud_E023__unknown_value(settings: pytest_django.Settings) -> None:
    settings.DSUD_OUTDATED = "Migrate"
    message = found("dsud.E023", dsud_messages())
    assert (message.msg, message.hint) == (
        "DSUD_OUTDATED is 'Migrate'.",
        'Set DSUD_OUTDATED = "refuse", "migrate" or "serve".',
    )


def test_dsud_E022__engine_gives_no_ranges(
    settings: pytest_django.Settings, tmp_path: Path
) -> None:
    settings.DSUD_DISTINCT_KEYS = True
    settings.USER_DATABASES = {"default": {"ENGINE": "tests.flat_engine", "LOCATION": tmp_path}}
    message = found("dsud.E022", dsud_messages())
    assert (message.msg, message.hint) == (
        (
            "DSUD_DISTINCT_KEYS is set, but the engine of USER_DATABASES['default'] cannot take the"
            " primary keys of each user from a range of their own."
        ),
        "Remove DSUD_DISTINCT_KEYS, or choose another engine.",
    )


@isolate_apps("tests.notes")
def test_dsud_W006__keys_that_are_too_small(settings: pytest_django.Settings) -> None:
    class Small(models.Model):
        id = models.AutoField(primary_key=True)

        class Meta:
            app_label = "notes"

    class Wide(models.Model):
        id = models.BigAutoField(primary_key=True)

        class Meta:
            app_label = "notes"

    class Random(models.Model):
        id = models.UUIDField(primary_key=True)

        class Meta:
            app_label = "notes"

    class Child(Small):
        class Meta:
            app_label = "notes"

    made = [Small, Wide, Random, Child]
    with mock.patch.object(checks, "user_models", return_value=made):
        assert list(checks.check_distinct_keys()) == []
        settings.DSUD_DISTINCT_KEYS = True
        (message,) = checks.check_distinct_keys()
    assert (message.id, message.msg, message.hint, message.obj) == (
        "dsud.W006",
        "The primary keys of notes.Small are too small to differ between users.",
        (
            'Set DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField", or give the model'
            " id = models.BigAutoField(primary_key=True), and run `manage.py makemigrations`."
        ),
        Small,
    )


def test_distinct_keys__of_the_site_are_clean(settings: pytest_django.Settings) -> None:
    settings.DSUD_DISTINCT_KEYS = True
    assert dsud_messages() == []
    settings.USER_DATABASES = {}
    assert list(checks.check_distinct_keys()) == []


def test_dsud_W001__no_user_model(settings: pytest_django.Settings) -> None:
    settings.DSUD_APPS = []
    assert found("dsud.W001", dsud_messages()).hint == (
        'Name the apps whose rows belong to users: DSUD_APPS = ["notes"].'
    )


def test_dsud_W002__button_without_address(settings: pytest_django.Settings) -> None:
    with mock.patch.object(checks, "_has_switch_button", return_value=True):
        assert dsud_messages() == []
        settings.ROOT_URLCONF = "tests.library.models"
        with mock.patch("tests.library.models.urlpatterns", [], create=True):
            message = found("dsud.W002", list(checks.check_urls()))
    assert 'path("admin/", include("dsud.urls", namespace="dsud"))' in str(message.hint)


def test_dsud_W002__addresses_after_those_of_the_admin(settings: pytest_django.Settings) -> None:
    settings.ROOT_URLCONF = "tests.library.models"
    patterns = [path("admin/", admin.site.urls), path("admin/", include("dsud.urls"))]
    with (
        mock.patch.object(checks, "_has_switch_button", return_value=True),
        mock.patch("tests.library.models.urlpatterns", patterns, create=True),
    ):
        assert found("dsud.W002", list(checks.check_urls()))


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 53, 0), False),
    ],
)
def test_dsud_W003__sqlite_version(version: tuple[int, ...], *, verdict: bool) -> None:
    assert may_lose_commits(version) is verdict
    with mock.patch.object(checks, "may_lose_commits", return_value=verdict):
        assert ("dsud.W003" in {each.id for each in checks.check_sqlite_version()}) is verdict


def test_dsud_W003__only_deploy_asks() -> None:
    with mock.patch.object(checks, "may_lose_commits", return_value=True):
        assert dsud_messages() == []
        assert found("dsud.W003", dsud_messages(include_deployment_checks=True))
