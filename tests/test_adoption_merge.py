"""The way back: user databases are merged into one, keys that collide are changed, nothing is lost."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.sites import Site
from tests.workshop.sites import PORTRAITS, SHAPES, SINGLE, TOOLS, copy_of, make_site, run_plain


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the directory of a site with one database for three users, and its portraits."""
    directory = tmp_path_factory.mktemp("workshop")
    return directory, make_site(directory, users=3, units=2)


@pytest.fixture
def site(made: tuple[Path, str], tmp_path: Path) -> Site:
    """Return a copy of the site, with settings for user databases."""
    return copy_of(made[0], tmp_path / "site")


def run(site: Site, code: str, *arguments: str) -> str:
    return site.run(TOOLS + code, *arguments)


def rows(site: Site) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of the site's own tables in ``default``."""
    with closing(sqlite3.connect(site.directory / "default.sqlite3")) as database:
        names = database.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE 'workshop_%' AND type = 'table'"
        ).fetchall()
        return {
            name: sorted(database.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
            for (name,) in names
        }


def single(site: Site, code: str) -> str:
    """Ask the site as it was before it knew of dsud."""
    return run_plain(Site(site.directory, settings=SINGLE), code).strip()


# There and back again


def test_merge__round_trip_gives_the_same_rows(site: Site, made: tuple[Path, str]) -> None:
    before = rows(site)
    run(
        site,
        """
run()
run("--delete-source")
assert source("SELECT count(*) FROM workshop_task") == [(0,)]
lines = merged().splitlines()
assert lines[-1] == "3 of 3 user databases merged into default.", lines
assert source("SELECT count(*) FROM dsud_merge_keys") == [(0,)]
assert merged().count(" rows merged before.") == 3
""",
    )
    assert rows(site) == before
    assert single(site, PORTRAITS) == made[1]


COLLIDING = """
run()
run("--delete-source")
for user in User.objects.all():
    with use_user(user):
        first = Project.objects.order_by("pk").first()
        label = Label.objects.create(owner=user, name=f"new of {user}")
        project = Project.objects.create(owner=None, parent=first, name=f"new of {user}")
        task = Task.objects.create(project=project, title=f"new of {user}", code=None, data=b"1")
        urgent = Urgent.objects.create(project=project, title=f"urgent of {user}", reason="new")
        Project.objects.filter(pk=project.pk).update(first_task=task)
        task.labels.add(label)
        task.words.add(Word.objects.create(name="new"), Word.objects.create(name=f"own of {user}"))
        Comment.objects.create(task=task, text=f"said by {user}")
        Happening.objects.create(user=user, task=urgent.task_ptr, text="happened")
        kind = Mark.objects.values_list("content_type", flat=True).first()
        Mark.objects.create(content_type_id=kind, object_id=str(task.pk), note=f"seen by {user}")
        Project.objects.filter(pk=project.pk).update(parent=project.pk)
def expected():
    for user in User.objects.all():
        with use_user(user):
            Project.objects.filter(owner=None).update(owner=user)
    return shapes()
"""


def test_merge__keys_that_collide_are_changed_wherever_they_are(site: Site) -> None:
    expected = run(
        site,
        COLLIDING
        + """
with use_user(1):
    files = {key: engine().path_of(key).read_bytes() for key in "123"}
assert merged().endswith("3 of 3 user databases merged into default.\\n")
changed = source("SELECT DISTINCT label FROM dsud_merge_keys ORDER BY label")
assert [label for (label,) in changed] == [
    "workshop.Comment", "workshop.Happening", "workshop.Label", "workshop.Mark", "workshop.Project",
    "workshop.Task", "workshop.Task_labels", "workshop.Task_words", "workshop.Word",
], changed
assert source("SELECT count(*) FROM workshop_word WHERE name = 'new'") == [(1,)]
assert source("SELECT count(*) FROM workshop_project WHERE owner_id IS NULL") == [(0,)]
with use_user(2):
    assert Project.objects.filter(owner=None).count() == 1  # The user's database stays as it is.
print(expected())
""",
    )
    assert json.loads(single(site, SHAPES)) == json.loads(expected)
    assert single(
        site, "from tests.workshop.models import *\nprint(Label.objects.create(owner_id=1).pk)"
    )


def test_merge__into_another_database_that_gets_its_tables(site: Site, tmp_path: Path) -> None:
    expected = run(
        site,
        """
connections.settings["other"] = {**connections.settings["default"], "NAME": sys.argv[1]}
call_command("migrate", "--database", "other", verbosity=0)
from django.contrib.contenttypes.models import ContentType
with connections["other"].cursor() as cursor:
    # Its content types have other numbers than those of default.
    cursor.execute("PRAGMA foreign_keys = OFF")
    cursor.execute("UPDATE django_content_type SET id = id + 1000")
    cursor.execute("UPDATE auth_permission SET content_type_id = content_type_id + 1000")
    cursor.execute("DELETE FROM auth_permission WHERE content_type_id IN"
                   " (SELECT id FROM django_content_type WHERE app_label = 'workshop')")
    cursor.execute("DELETE FROM django_content_type WHERE app_label = 'workshop'")
    cursor.execute("PRAGMA foreign_keys = ON")
User.objects.using("other").bulk_create(User.objects.all())
run()
assert not_merged("--database", "other") == (
    "`other` lacks the tables of workshop.Project, workshop.Task, workshop.Attachment,"
    " workshop.Comment, workshop.Happening, workshop.Invitation, workshop.Label, workshop.Mark, workshop.Task_labels,"
    " workshop.Word, workshop.Task_words, workshop.Urgent. Give --create-tables to make them.", 1,
), not_merged("--database", "other")
assert merged("--database", "other", "--create-tables").endswith(
    "3 of 3 user databases merged into other.\\n"
)
kind, = ContentType.objects.using("other").filter(app_label="workshop", model="task")
with connections["other"].cursor() as cursor:
    cursor.execute("SELECT DISTINCT content_type_id FROM workshop_mark")
    assert cursor.fetchall() == [(kind.pk,)]
print(shapes())
""",
        str(tmp_path / "site" / "other.sqlite3"),
    )
    (site.directory / "other.sqlite3").replace(site.directory / "default.sqlite3")
    for sidecar in site.directory.glob("default.sqlite3-*"):
        sidecar.unlink()
    assert json.loads(single(site, SHAPES)) == json.loads(expected)


def test_merge__dry_run_counts(site: Site) -> None:
    document = json.loads(
        run(
            site,
            """
run()
print(merged("--dry-run", "--json", "--user", "1"))
assert "dsud_merge" not in connections["default"].introspection.table_names()
output = merged("--dry-run")
assert "Rows of 3 users" in output and "project__owner" in output, output
""",
        )
    )
    assert document["users"] == ["1"]
    assert {each["model"]: each["rows"] for each in document["tables"]}["workshop.Task"] == 10


# What is refused


def test_merge__rows_that_are_there_already_are_not_doubled(site: Site) -> None:
    before = rows(site)
    run(
        site,
        """
run()
message, code = not_merged("--user", "1")
assert (message, code) == (
    "1 user databases failed, all others are done. Mend the causes and run it again:\\n"
    "  1: `default` has rows of user '1' already: workshop.Project, workshop.Task,"
    " workshop.Attachment, workshop.Comment, workshop.Happening, workshop.Label,"
    " workshop.Task_labels, workshop.Task_words, workshop.Urgent. They would be there twice. Delete"
    " them, with `manage.py split_to_user_dbs --delete-source` if they were moved from there, or"
    " merge into another database.", 1,
), message
""",
    )
    assert rows(site) == before


def test_merge__user_who_writes_afterwards_is_named(site: Site) -> None:
    run(
        site,
        """
run()
run("--delete-source")
merged()
with use_user(2):
    Label.objects.create(owner_id=2, name="late")
message, code = not_merged()
assert message.endswith(
    "  2: The database of user '2' is not what it was when it was merged: workshop.Label."
    " Keep everybody from writing there."
), message
assert source("SELECT count(*) FROM workshop_label WHERE name = 'late'") == [(0,)]
""",
    )


def test_merge__user_who_writes_meanwhile_is_named_and_not_merged(site: Site) -> None:
    run(
        site,
        """
run()
run("--delete-source")
from dsud.adoption import merge
one = merge.One.merge
def writes(self):
    found = one(self)
    connection = sqlite3.connect(engine().path_of(self._user_key))
    with closing(connection), connection:
        connection.execute("UPDATE workshop_label SET name = 'changed'")
    return found
with mock.patch.object(merge.One, "merge", writes):
    message, code = not_merged("--user", "1")
assert "is not what it was when it was merged: workshop.Label." in message, message
assert source("SELECT count(*) FROM workshop_label") == [(0,)]
merged("--user", "1")
""",
    )


def test_merge__row_that_comes_back_otherwise_is_found(site: Site) -> None:
    run(
        site,
        """
run()
run("--delete-source")
source("CREATE TRIGGER shout AFTER INSERT ON workshop_label BEGIN"
       " UPDATE workshop_label SET name = upper(name) WHERE id = new.id; END")
message, code = not_merged("--user", "1")
assert message.endswith(
    "  1: Rows of workshop.Label of user '1' are not what they were after they were written to"
    " `default`. Compare its columns with the model's fields."
), message
for table in ("project", "task", "label", "task_words"):
    assert source(f"SELECT count(*) FROM workshop_{table}") == [(0,)]
assert source("SELECT count(*) FROM dsud_merge") == [(0,)]
""",
    )


def test_merge__disk_that_is_full_changes_nothing(site: Site) -> None:
    run(
        site,
        """
source("UPDATE workshop_comment SET text = hex(randomblob(4000))")
run()
run("--delete-source")
from dsud.adoption.journal import Journal
Journal("default").prepare()
source("VACUUM")
(pages,), = source("PRAGMA page_count")
source(f"PRAGMA max_page_count = {pages + 6}")
message, code = not_merged()
assert "were not merged: database or disk is full. Nothing was changed;" in message, message
done = source("SELECT count(DISTINCT user_key) FROM dsud_merge")[0][0]
assert source("SELECT count(*) FROM workshop_task") == [(10 * done,)] and done < 3
source("PRAGMA max_page_count = 100000")
merged()
assert source("SELECT count(*) FROM workshop_comment WHERE length(text) = 8000") == [(60,)]
""",
    )


def test_merge__two_at_once_merge_each_user_once(site: Site) -> None:
    before = rows(site)
    run(
        site,
        """
run()
run("--delete-source")
assert in_children(3, lambda _: merged()) == [0] * 3
""",
    )
    assert rows(site) == before


def test_merge__app_by_app_and_apps_that_are_none(site: Site) -> None:
    run(
        site,
        """
run()
run("--delete-source")
assert not_merged("nonsense") == ("nonsense: no such app has user models.", 2)
assert merged("workshop").count(" rows merged.") == 3
for label in ("workshop.Comment", "workshop.Attachment"):  # As if they had been left out.
    source("DELETE FROM dsud_merge WHERE label = %s", label)
    source(f"DELETE FROM {label.lower().replace('.', '_')}")
# As if one of user 1's tasks had got another key then.
task, = source("SELECT min(t.id) FROM workshop_task t JOIN workshop_project p ON p.id = project_id"
               " WHERE owner_id = 1")[0]
source("INSERT INTO dsud_merge_keys VALUES ('1', 'workshop.Task', %s, '9000')", str(task))
message, code = not_merged("--user", "1")
assert "task_id contains a value '9000'" in message, message
source("DELETE FROM dsud_merge_keys")
assert merged().count(": 22 rows merged.") == 3
""",
    )


def test_merge__rows_that_say_they_are_anothers_are_named(site: Site) -> None:
    run(
        site,
        """
run()
run("--delete-source")
connection = sqlite3.connect(engine().path_of("1"))
with closing(connection), connection:
    connection.execute("UPDATE workshop_label SET owner_id = 2 WHERE id = (SELECT min(id) FROM workshop_label)")
    (row,) = connection.execute("SELECT min(id) FROM workshop_label").fetchone()
message, code = not_merged()
assert message.endswith(
    f"  1: The row {row} of workshop.Label in the database of user '1' says that it is of user '2'."
    " Mend it, because it would be the other's."
), message
assert source("SELECT count(*) FROM workshop_project WHERE owner_id = 1") == [(0,)]
""",
    )


def test_merge__model_without_owner_is_unclear_unless_that_is_accepted(site: Site) -> None:
    site.run(TOOLS + "run(); run('--delete-source')")
    finished = site.manage("merge_user_dbs")
    assert finished.returncode == 2
    assert finished.stderr.startswith("CommandError: workshop.Word: no key leads to an owner.")
    assert (
        site.manage("merge_user_dbs", "--no-owner", "workshop.Word", "--user", "1").returncode == 0
    )
    finished = site.manage("merge_user_dbs", "--no-owner", "workshop.Word", "--user", "2")
    assert finished.returncode == 1
    assert "UNIQUE constraint failed: workshop_word.name" in finished.stderr
    finished = site.manage("merge_user_dbs", "--database", "nowhere")
    assert (finished.returncode, finished.stderr) == (
        2,
        "CommandError: DATABASES has no 'nowhere'.\n",
    )


def test_merge__killed_at_any_moment_is_completed_by_the_next_run(site: Site) -> None:
    before = rows(site)
    run(
        site,
        """
run()
run("--delete-source")
calls = calls_of(lambda: merged("--user", "3"))
seen = set()
for moment in range(16):
    def killed(_):
        sys.setprofile(KilledAt(1 + calls * (moment + 4) // 14))
        merged()
        sys.setprofile(None)
    in_children(1, killed)
    seen.add(source("SELECT count(*) FROM workshop_task")[0][0])
    connections.close_all()
assert seen == {10, 20, 30}, seen
assert in_children(1, lambda _: merged()) == [0]
""",
    )
    assert rows(site) == before
