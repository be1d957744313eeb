"""A site whose ``default`` is on a server is split into SQLite files, merged back, and lives with both."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import mysql, postgresql
from tests.mysql_site import NAME, SOCKET
from tests.sites import Site
from tests.test_data_migrations import BACK_TO_THE_BEGINNING, BORN, SIGN_UP, look
from tests.workshop.sites import PORTRAITS, SINGLE, TOOLS, make_site, run_plain

pytestmark = pytest.mark.slow

#: What makes a database of this name, and returns the environment of a site whose ``default`` it is.
Maker = Callable[[str], dict[str, str]]


@contextmanager
def on_mysql(directory: Path) -> Iterator[Maker]:
    with mysql.server(directory) as socket:

        def make(name: str) -> dict[str, str]:
            mysql.execute(socket, f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
            return {SOCKET: str(socket), NAME: name}

        yield make


@contextmanager
def on_postgresql(directory: Path) -> Iterator[Maker]:
    psycopg = pytest.importorskip("psycopg", reason="PostgreSQL IS NOT TESTED: install psycopg.")
    with postgresql.server(directory) as port:

        def make(name: str) -> dict[str, str]:
            address = {"host": "127.0.0.1", "port": port, "user": "workshop"}
            with psycopg.connect(dbname="postgres", autocommit=True, **address) as connection:
                connection.execute(f'CREATE DATABASE "{name}"')
            return {"WORKSHOP_POSTGRESQL_PORT": str(port), "WORKSHOP_POSTGRESQL_NAME": name}

        yield make


SERVERS = {"mysql": on_mysql, "postgresql": on_postgresql}

only_mysql = pytest.mark.parametrize("vendor", ["mysql"], indirect=True)
only_postgresql = pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)


@pytest.fixture(scope="module", params=SERVERS)
def vendor(request: pytest.FixtureRequest) -> str:
    """Return what the server of ``default`` is."""
    return str(request.param)


@pytest.fixture(scope="module")
def maker(vendor: str) -> Iterator[Maker]:
    """Run a server, and give what makes databases on it."""
    # Not below pytest's own directory: its path is too long for a socket, and only its owner may enter.
    with (
        tempfile.TemporaryDirectory(prefix=f"dsud-{vendor}-") as directory,
        SERVERS[vendor](Path(directory)) as maker,
    ):
        yield maker


@pytest.fixture
def empty(maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of a site with a database of its own on the server."""
    name = f"site_{tmp_path.name.replace('-', '_')}"[:60]
    for variable, value in maker(name).items():
        monkeypatch.setenv(variable, value)
    return tmp_path


@pytest.fixture
def made(empty: Path) -> tuple[Site, str]:
    """Return a site with rows, and its portraits."""
    before = make_site(empty, users=4, units=2)
    return Site(empty, settings="tests.workshop.settings"), before


#: What begins where all rows have moved to user databases.
MOVED = f"""{TOOLS}
run()
run("--delete-source")
"""


def assert_back(site: Site, before: str) -> None:
    """Compare what the site with one database answers with its portraits."""
    assert_same(run_plain(Site(site.directory, settings=SINGLE), PORTRAITS), before)


def assert_same(after: str, before: str) -> None:
    found, expected = json.loads(after), json.loads(before)
    assert found.keys() == expected.keys()
    for name, answers in expected.items():
        for question, answer in answers.items():
            assert found[name][question] == answer, question


def test_split__from_a_server(made: tuple[Site, str], vendor: str) -> None:
    site, before = made
    text = site.run(
        TOOLS
        + """
assert connections["default"].vendor == sys.argv[1]
# A key that was issued and is not there any more.
source("INSERT INTO workshop_label (owner_id, name) VALUES (1, 'gone') ")
(highest,), = source("SELECT max(id) FROM workshop_label")
source("DELETE FROM workshop_label WHERE name = 'gone'")
source("INSERT INTO workshop_project (name, budget) VALUES ('of nobody', 0)")
assert run().endswith("4 of 4 user databases filled.\\n")
assert run().count(" rows moved before.") == 4
print(portraits())
with use_user(1):
    assert Label.objects.create(owner_id=1, name="new").pk == highest + 1
    # MariaDB has a type for these, and its driver gives text with dashes.
    for task in list(Task.objects.all()):
        assert Task.objects.get(code=task.code) == task
assert run("--delete-source").endswith("4 of 4 user databases cleared from default.\\n")
assert source("SELECT count(*) FROM workshop_task") == [(0,)]
assert source("SELECT name FROM workshop_project") == [("of nobody",)]
""",
        vendor,
    )
    assert_same(text, before)


def test_merge__into_a_server(made: tuple[Site, str]) -> None:
    site, before = made
    site.run(
        MOVED
        + """
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
found = source("SELECT owner_id, name FROM workshop_label WHERE id = %s", int(new))
assert found == [(2, "his")], found
found = source("SELECT count(*) FROM workshop_task_labels WHERE label_id = %s", int(new))
assert found == [(1,)], found
source("DELETE FROM workshop_task_labels WHERE label_id = %s", int(new))
source("DELETE FROM workshop_label WHERE name IN ('hers', 'his')")
"""
    )
    assert_back(site, before)
    key = "from tests.workshop.models import *\nprint(Label.objects.create(owner_id=1).pk)"
    assert int(run_plain(Site(site.directory, settings=SINGLE), key)) > 1


@only_mysql
def test_merge__makes_tables(made: tuple[Site, str]) -> None:
    site, before = made
    site.run(
        MOVED
        + """
source("SET foreign_key_checks = 0")
for table in ("project", "task", "urgent", "label", "task_labels", "task_words", "comment"):
    source(f"DROP TABLE workshop_{table}")
source("SET foreign_key_checks = 1")
assert merged("--create-tables").endswith("4 of 4 user databases merged into default.\\n")
"""
    )
    assert_back(site, before)


@only_mysql
def test_merge__copies_that_mysql_takes_for_the_same_stay_apart(made: tuple[Site, str]) -> None:
    site, _ = made
    site.run(
        MOVED
        + """
with use_user(1):
    Word.objects.create(name="same")
with use_user(2):
    word = Word.objects.create(name="SAME")
message, code = not_merged()
assert "  2: The rows of user '2' were not merged: (1062, " in message, message
assert "Duplicate entry 'SAME'" in message, message
assert source("SELECT count(*) FROM workshop_label WHERE owner_id = 2") == [(0,)]
with use_user(2):
    Word.objects.filter(pk=word.pk).update(name="another")
assert merged().endswith("4 of 4 user databases merged into default.\\n")
assert source("SELECT count(*) FROM workshop_word WHERE name = 'another'") == [(1,)]
"""
    )


@only_mysql
def test_delete_source__what_still_points_there_is_minded(made: tuple[Site, str]) -> None:
    site, _ = made
    site.run(
        TOOLS
        + """
run()
source("CREATE TABLE elsewhere (task_id bigint, FOREIGN KEY (task_id) REFERENCES workshop_task (id))")
task = source("SELECT t.id FROM workshop_task t JOIN workshop_project p ON p.id = t.project_id"
    " WHERE p.owner_id = 2")[0][0]
source("INSERT INTO elsewhere VALUES (%s)", task)
pointing = "SELECT count(*) FROM workshop_project WHERE owner_id = 2 AND first_task_id IS NOT NULL"
before = source(pointing)
message, code = refused("--delete-source")
assert message.startswith("1 user databases failed"), message
assert "  2: The rows of user '2' in `default` were not deleted: (1451, " in message, message
# Keys that were emptied for the deletion are back.
assert source(pointing) == before and before[0][0] > 0, before
"""
    )


@only_postgresql
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


ROWS = """
import json
from django.db import connection
found = {}
with connection.cursor() as cursor:
    for name in connection.introspection.table_names(cursor):
        if name.startswith(("lab_", "taggit_")):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(name)}")
            found[name] = sorted(map(repr, cursor.fetchall()))
print(json.dumps(found))
"""


@only_mysql
def test_round_trip__users_and_rows_with_uuids_and_packages(empty: Path) -> None:
    packages = pytest.importorskip(
        "tests.test_adoption_packages", reason="The packages are not installed."
    )
    single = Site(empty, settings="tests.lab.single_settings")
    run_plain(single, packages.GENERATE)
    before = json.loads(run_plain(single, ROWS))
    site = Site(empty, settings=packages.SETTINGS)
    site.run('call_command("migrate", verbosity=0)')
    site.run(packages.SPLIT, *packages.OPTIONS)
    assert not json.loads(run_plain(single, ROWS))["lab_page"]
    finished = site.manage("merge_user_dbs", *packages.OPTIONS)
    assert finished.returncode == 0, finished.stderr
    after = json.loads(run_plain(single, ROWS))
    assert len(after["lab_historicalpaper"]) == 12
    assert after == before


# The rest of the site, which goes on with MariaDB as its ``default``


@pytest.fixture
def site(empty: Path) -> Site:
    """Return a site with an app of both sides."""
    return Site(empty, settings="tests.mysql_settings")


@only_mysql
def test_migrate__app_of_both_sides_on_empty_databases(site: Site) -> None:
    found = look(site, SIGN_UP)

    assert found["stands"] == ["OPENED AS NUMBER 0", "in default only"]
    assert found["default"] == ["bazaar_stand"]
    here = {"wares": [], "labels": BORN, "tables": ["bazaar_label", "bazaar_ware"]}
    assert (found["alice"], found["bob"]) == (here, here)


@only_mysql
def test_migrate__app_of_both_sides_where_there_are_rows(site: Site) -> None:
    site.run(SIGN_UP + BACK_TO_THE_BEGINNING)
    for command in (["migrate"], ["migrate_user_dbs"]):
        finished = site.manage(*command)
        assert finished.returncode == 0, finished.stdout + finished.stderr

    found = look(site)
    assert found["default"] == ["bazaar_stand"]
    assert found["stands"][-2:] == ["OPENED AS NUMBER 3", "in default only"]
    assert found["alice"]["wares"] == [["fresh: Cod of alice at FISH.", "real"]]
    assert found["bob"]["wares"] == [["fresh: Eel of bob at FISH.", "real"]]


@only_mysql
def test_migrate__real_table_of_an_unsplit_site_stays_out_of_reach(site: Site) -> None:
    site.run(
        """
from contextlib import nullcontext
from django.apps import apps
from django.db import IntegrityError
from django.db.migrations.operations import RunPython, RunSQL
from django.db.migrations.state import ProjectState
call_command("migrate", verbosity=0)
default = connections["default"]
def operate(operation):
    state = ProjectState.from_apps(apps)
    with default.schema_editor() as editor:
        operation.database_forwards("bazaar", editor, state, state)
def rows():
    with default.cursor() as cursor:
        cursor.execute("SELECT id FROM bazaar_ware")
        return cursor.fetchall()
with default.cursor() as cursor:
    cursor.execute("CREATE TABLE bazaar_ware (id integer)")
    cursor.execute("INSERT INTO bazaar_ware VALUES (1)")
seen = []
def work(apps, editor):
    wares, stands = (apps.get_model("bazaar", each).objects for each in ("Ware", "Stand"))
    seen.append(wares.count())
    wares.create(stand=stands.create(name="shared"), owner_id=1, title="x")
    seen.append(wares.filter(stand__name="shared").count())
operate(RunPython(work))
assert seen == [0, 1], seen
assert rows() == ((1,),)
operate(RunSQL("DELETE FROM bazaar_ware"))
assert rows() == ((1,),)
def fail(apps, editor):
    raise ZeroDivisionError
def fail_in_database(apps, editor):
    # What marks the connection as broken until its block ends.
    stands = apps.get_model("bazaar", "Stand").objects
    stands.create(pk=stands.create(name="twice").pk, name="twice")
for function, error in ((fail, ZeroDivisionError), (fail_in_database, IntegrityError)):
    for atomic in (True, False):
        try:
            with transaction.atomic() if atomic else nullcontext():
                operate(RunPython(function, atomic=atomic))
        except error:
            pass
        else:
            raise AssertionError("no error")
        # No stand-in is in front of the table any more.
        assert rows() == ((1,),), (function, atomic)
"""
    )


@only_mysql
def test_distinct_keys__numbers_are_drawn(site: Site) -> None:
    site.run(
        """
from django.test import override_settings
from dsud import key_ranges
from dsud.engines.ranges import number_of
from dsud.models import UserDatabaseNumber
from tests.notes.models import Note
override_settings(DSUD_DISTINCT_KEYS=True).enable()
call_command("migrate", verbosity=0)
def sign_up(name):
    return User.objects.create(username=name)
def number(user):
    with use_user(user):
        return number_of(Note.objects.create(text="x").pk)
assert in_children(3, lambda index: [sign_up(f"child {index} {each}") for each in range(3)]) == [0] * 3
users = list(User.objects.all())
numbers = [number(user) for user in users]
assert sorted(numbers) == list(range(1, 10)), numbers
# A registry that has forgotten everything learns the numbers from the databases.
with connections["default"].cursor() as cursor:
    cursor.execute(f"TRUNCATE {UserDatabaseNumber._meta.db_table}")
for user in users:
    key_ranges.seed(str(user.pk))
assert [number(user) for user in users] == numbers
assert number(sign_up("late")) == 10
"""
    )
