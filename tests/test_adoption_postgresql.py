"""A site whose one database is PostgreSQL is split into SQLite files."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql import server
from tests.sites import Site
from tests.workshop.sites import PORTRAITS, SINGLE, TOOLS, make_site, run_plain

psycopg = pytest.importorskip("psycopg", reason="PostgreSQL IS NOT TESTED: install psycopg.")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    # Not below pytest's own directory, which nobody but its owner may enter.
    with (
        tempfile.TemporaryDirectory(prefix="dsud-postgresql-") as directory,
        server(Path(directory)) as port,
    ):
        yield port


@pytest.fixture
def made(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Site, str]:
    """Return a site in a database of its own on the server, and its portraits."""
    name = f"workshop_{tmp_path.name.replace('-', '_')}"[:60]
    address = {"host": "127.0.0.1", "port": port, "user": "workshop"}
    with psycopg.connect(dbname="postgres", autocommit=True, **address) as connection:
        connection.execute(
            psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name))
        )
    monkeypatch.setenv("WORKSHOP_POSTGRESQL_PORT", str(port))
    monkeypatch.setenv("WORKSHOP_POSTGRESQL_NAME", name)
    before = make_site(tmp_path, users=4, units=2)
    return Site(tmp_path, settings="tests.workshop.settings"), before


@pytest.mark.slow
def test_split__from_postgresql(made: tuple[Site, str]) -> None:
    site, before = made
    text = site.run(
        TOOLS
        + """
assert connections["default"].vendor == "postgresql"
# A key that was issued and is not there any more.
source("INSERT INTO workshop_label (owner_id, name) VALUES (1, 'gone') ")
source("DELETE FROM workshop_label WHERE name = 'gone'")
highest = source("SELECT last_value FROM workshop_label_id_seq")[0][0]
source("INSERT INTO workshop_project (name, budget) VALUES ('of nobody', 0)")
assert run().endswith("4 of 4 user databases filled.\\n")
assert run().count(" rows moved before.") == 4
print(portraits())
with use_user(1):
    assert Label.objects.create(owner_id=1, name="new").pk == highest + 1
assert run("--delete-source").endswith("4 of 4 user databases cleared from default.\\n")
assert source("SELECT count(*) FROM workshop_task") == [(0,)]
assert source("SELECT name FROM workshop_project") == [("of nobody",)]
"""
    )
    after, expected = json.loads(text), json.loads(before)
    assert after.keys() == expected.keys()
    for name, answers in expected.items():
        for question, answer in answers.items():
            assert after[name][question] == answer, question


@pytest.mark.slow
def test_merge__into_postgresql(made: tuple[Site, str]) -> None:
    site, before = made
    site.run(
        TOOLS
        + """
run()
run("--delete-source")
with use_user(1):
    shared = Label.objects.create(owner_id=1, name="hers")
with use_user(2):
    label = Label.objects.create(owner_id=2, name="his")
    assert label.pk == shared.pk
    Task.objects.first().labels.add(label)
assert merged().endswith("4 of 4 user databases merged into default.\\n")
assert merged().count(" rows merged before.") == 4
(label, old, new), *rest = source("SELECT label, old_key, new_key FROM dsud_merge_keys")
assert label == "workshop.Label", label
assert source("SELECT owner_id, name FROM workshop_label WHERE id = %s", int(new)) == [(2, "his")]
assert source("SELECT count(*) FROM workshop_task_labels WHERE label_id = %s", int(new)) == [(1,)]
source("DELETE FROM workshop_task_labels WHERE label_id = %s", int(new))
source("DELETE FROM workshop_label WHERE name IN ('hers', 'his')")
"""
    )
    single = Site(site.directory, settings=SINGLE)
    after, expected = json.loads(run_plain(single, PORTRAITS)), json.loads(before)
    for name, answers in expected.items():
        for question, answer in answers.items():
            assert after[name][question] == answer, question
    key = "from tests.workshop.models import *\nprint(Label.objects.create(owner_id=1).pk)"
    assert int(run_plain(single, key)) > 1


@pytest.mark.slow
def test_split__number_that_sqlite_cannot_hold_is_found(made: tuple[Site, str]) -> None:
    site, _ = made
    site.run(
        TOOLS
        + """
source("ALTER TABLE workshop_project ALTER COLUMN budget TYPE numeric(30, 2)")
Project._meta.get_field("budget").max_digits = 30
source("UPDATE workshop_project SET budget = 12345678901234567890.12 WHERE owner_id = 1")
message, code = refused()
assert "  1: The rows of user '1' in `default` are not those that were moved: workshop.Project." in message
assert not engine().exists("1") and engine().exists("2")
"""
    )
