"""Models are known by the names that they had, as far as migrations tell."""

import pytest
import pytest_django
from django.apps import apps

from dsud import renames, router


@pytest.fixture
def bazaar(settings: pytest_django.Settings) -> None:
    """Install an app with renamed models, of which single ones are user models."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.bazaar"]
    apps.clear_cache()  # Because Django does not while it loads apps.
    settings.DSUD_APPS = [*settings.DSUD_APPS, "bazaar.Ware", "bazaar.Label"]


def test_current_label__of_a_renamed_model(bazaar: None) -> None:
    assert renames.current_label("bazaar.offer") == "bazaar.ware"
    assert renames.current_label("bazaar.stall") == "bazaar.stand"
    assert renames.current_label("bazaar.ware") == "bazaar.ware"
    assert renames.current_label("bazaar.never") == "bazaar.never"


def test_classify__by_the_name_of_today(bazaar: None) -> None:
    assert router.classify("bazaar", "offer")
    assert not router.classify("bazaar", "stall")


def test_current_label__of_names_that_go_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renames, "renamed", lambda app: {"x.a": "x.b", "x.b": "x.a"})
    assert renames.current_label("x.a") in {"x.a", "x.b"}


def test_current_label__of_apps_without_migrations(settings: pytest_django.Settings) -> None:
    assert renames.current_label("nowhere.model") == "nowhere.model"
    settings.MIGRATION_MODULES = {"notes": "nowhere.migrations", "library": None}
    assert renames.current_label("notes.model") == "notes.model"
    assert renames.current_label("library.model") == "library.model"


def test_installed__of_what_is_no_label() -> None:
    assert renames.installed("notes.Note") is not None
    assert renames.installed("nonsense") is None
    assert renames.installed("notes.Nothing") is None
