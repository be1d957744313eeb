"""What is replayed is what ``migrate`` does: over every operation of Django, there and back."""

import sqlite3
import textwrap
from contextlib import closing
from pathlib import Path

import django
import pytest
import pytest_django
from django.apps import apps
from django.db import migrations
from django.db.migrations import operations

from tests import histories
from tests.histories import History
from tests.operations import BROKEN_ROWS, CASES, ROWS, SETUP

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("location")]

CHECK = "condition" if django.VERSION >= (5, 1) else "check"


@pytest.fixture
def history(
    settings: pytest_django.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> History:
    """Return an empty history of the app, which is a user app."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.evolution"]
    apps.clear_cache()  # Because Django does not while it loads apps.
    settings.DSUD_APPS = [*settings.DSUD_APPS, "evolution"]
    monkeypatch.syspath_prepend(tmp_path)

    def set_module(name: str) -> None:
        settings.MIGRATION_MODULES = {"evolution": name}

    return History(tmp_path, set_module)


@pytest.fixture(scope="module")
def tables() -> dict[str, bytes]:
    """Return what the first migration makes, once that was made."""
    return {}


@pytest.fixture
def start(history: History, tmp_path: Path, tables: dict[str, bytes]) -> Path:
    """Return a database with the tables of the first migration."""
    history.write("0001_setup", SETUP, code=f"CHECK = {CHECK!r}")
    path = tmp_path / "start.db"
    path.write_bytes(tables.get("made", b""))
    if not tables:
        histories.django_migrates(path, "evolution", "0001")
        tables["made"] = path.read_bytes()
    return path


def fill(path: Path, rows: str) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript("PRAGMA synchronous = OFF;" + rows)
        raw.commit()


@pytest.mark.parametrize("name", CASES)
def test_replay__operation(history: History, start: Path, name: str) -> None:
    case = CASES[name]
    if case.needs == "old" and django.VERSION >= (5, 1):
        pytest.skip("Django has no such operation any more")
    if case.needs and case.needs != "old" and not hasattr(migrations, case.needs):
        pytest.skip("Django has no such operation yet")
    history.write(
        "0002_change", case.operations, code=f"{textwrap.dedent(case.code)}\nCHECK = {CHECK!r}"
    )
    fill(start, ROWS)
    there, back = histories.plans_to("evolution", "0002"), histories.plans_to("evolution", "0001")
    how = histories.assert_same(start, "evolution", "0002", plans=there, masked=case.masked)
    assert how == case.kind
    if how != "failed":
        changed = start.with_name("start_dj.db").rename(start.with_name("changed.db"))
        how = histories.assert_same(changed, "evolution", "0001", plans=back, masked=case.masked)
        assert how == (case.backwards or case.kind)
    fill(start, BROKEN_ROWS)
    histories.assert_same(start, "evolution", "0002", plans=there, masked=case.masked)


def test_cases__cover_every_operation() -> None:
    text = " ".join(case.operations for case in CASES.values())
    missing = {name for name in operations.__all__ if f"migrations.{name}(" not in text}
    assert missing == set()
