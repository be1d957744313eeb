"""Dumps and fixtures of ``default`` leave no user's row out without saying so."""

import io
import json
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from dsud.context import use_user
from tests.library.models import Book
from tests.notes.models import Note
from tests.sites import Site

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]


def dump(*labels: str) -> tuple[list[dict[str, object]], str]:
    """Return what is dumped, and what is said of it."""
    output, errors = io.StringIO(), io.StringIO()
    call_command("dumpdata", *labels, stdout=output, stderr=errors, no_color=True)
    return json.loads(output.getvalue()), errors.getvalue()


@pytest.mark.parametrize("labels", [["notes"], ["notes.Note"], ["notes.note", "library.loan"]])
def test_dumpdata__of_user_models_only_is_refused(labels: list[str]) -> None:
    with pytest.raises(CommandError) as caught:
        dump(*labels)
    assert str(caught.value).endswith(
        f" live in user databases. Dump them with `manage.py run_on_user_dbs dumpdata {' '.join(labels)}`."
    )


def test_dumpdata__names_what_it_leaves_out() -> None:
    Book.objects.create(title="Emma")
    rows, said = dump("library")
    assert [row["fields"] for row in rows] == [{"title": "Emma"}]
    assert said == (
        "Left out: The rows of library.Loan live in user databases. Dump them with"
        " `manage.py run_on_user_dbs dumpdata library`.\n"
    )
    assert "notes.Note" in dump()[1]


def test_dumpdata__of_shared_models_says_nothing() -> None:
    assert dump("library.Book", "auth")[1] == ""


def test_dumpdata__of_a_user(alice: User) -> None:
    with use_user(alice):
        Note.objects.create(text="hers")
    output = io.StringIO()
    call_command("run_on_user_dbs", "--user", "alice", "dumpdata", "notes.Note", stdout=output)
    assert "hers" in output.getvalue()


def test_loaddata__with_a_row_of_a_user_model_loads_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.run('call_command("migrate", verbosity=0)')
    fixture = tmp_path / "rows.json"
    rows = [
        {"model": "library.book", "pk": 1, "fields": {"title": "Emma"}},
        {"model": "notes.tag", "pk": 1, "fields": {"name": "red"}},
    ]
    fixture.write_text(json.dumps(rows))
    finished = site.manage("loaddata", str(fixture))
    assert finished.returncode == 1
    assert (
        "The fixture has a notes.Tag, whose rows live in user databases. Nothing was loaded."
        in (finished.stderr)
    )
    assert site.run("from tests.library.models import Book; print(Book.objects.count())") == "0\n"
    fixture.write_text(json.dumps(rows[:1]))
    assert site.manage("loaddata", str(fixture)).returncode == 0
