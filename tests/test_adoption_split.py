"""A site with one database is split: everything arrives, nothing is lost, and what is odd is named."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sites import ROOT, Site
from tests.workshop.sites import TOOLS, copy_of, make_site


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the directory of a site with one database for three users, and its portraits."""
    directory = tmp_path_factory.mktemp("workshop")
    return directory, make_site(directory, users=3, units=1)


@pytest.fixture
def site(made: tuple[Path, str], tmp_path: Path) -> Site:
    """Return a copy of the site, with settings for user databases."""
    return copy_of(made[0], tmp_path / "site")


def run(site: Site, code: str, *arguments: str) -> str:
    return site.run(TOOLS + code, *arguments)


# What arrives

STREAMED = 'mock.patch.object(split, "source_file", return_value=None).start()\n'


@pytest.mark.parametrize("way", ["", STREAMED], ids=["attached", "streamed"])
def test_split__each_user_gets_the_same_answers(
    site: Site, made: tuple[Path, str], way: str
) -> None:
    text = run(site, way + SAME)
    assert text.strip() == made[1]


SAME = """
before = source("SELECT count(*), max(id) FROM workshop_task")
lines = run().splitlines()
assert lines[-1] == "3 of 3 user databases filled."
assert all(" rows moved." in line for line in lines[-4:-1]), lines
# What is in a log only may be lost with the power.
logs = list(engine().location.rglob("db.sqlite3-wal"))
assert all(log.stat().st_size == 0 for log in logs), logs
for user in User.objects.all():
    with use_user(user):
        counts = unfiltered()
        assert counts.pop("Word") <= 5
        assert counts == {
            "Project": 1, "Task": 5, "Urgent": 1, "Comment": 10, "Attachment": 1, "Label": 2,
            "Happening": 5, "Mark": 5,
        }, counts
        # Content types have the same numbers everywhere.
        assert {type(mark.target) for mark in Mark.objects.all()} == {Task}
        assert Task.objects.filter(project__owner__username=user.username).count() == 5
    assert UserDatabase.objects.get(user_key=user.pk).state == "ready"
assert source("SELECT count(*), max(id) FROM workshop_task") == before
assert {" rows moved before." in line for line in run().splitlines()[-4:-1]} == {True}
print(portraits())
"""


def test_split__into_another_engine_and_back(
    site: Site, made: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKSHOP_ENGINE", "tests.flat_engine")
    text = run(
        site,
        """
assert not engine().attaches
provisioning.provision("2")
run()
run("--delete-source")
before = portraits()
merged()
assert source("SELECT count(*) FROM workshop_task") == [(15,)]
print(before)
""",
    )
    assert text.strip() == made[1]


@pytest.mark.parametrize("way", ["", STREAMED], ids=["attached", "streamed"])
def test_split__keys_go_on_after_the_highest_that_was_ever_issued(site: Site, way: str) -> None:
    run(
        site,
        way
        + """
source("INSERT INTO workshop_label (id, owner_id, name) VALUES (500, 1, 'gone')")
source("DELETE FROM workshop_label WHERE id = 500")
highest = source("SELECT max(id) FROM workshop_task")[0][0]
run()
for user in User.objects.all():
    with use_user(user):
        assert Label.objects.create(owner=user, name="new").pk == 501
        assert Task.objects.create(project=Project.objects.get(), title="new").pk == highest + 1
""",
    )


def test_split__dry_run_tells_and_does_nothing(site: Site) -> None:
    document = json.loads(
        run(
            site,
            """
print(run("--dry-run", "--json", "--exclude", "user1"))
assert not engine().is_initialized()
assert not UserDatabase.objects.exists()
""",
        )
    )
    assert document["users"] == ["1", "3"]
    assert document["links"] == []
    tables = {each["model"]: each for each in document["tables"]}
    assert tables["workshop.Mark"] == {
        "model": "workshop.Mark",
        "owner": "target → workshop.Task",
        "rows": 15,
        "nobody": [],
        "gone": {},
    }
    assert tables["workshop.Task_labels"]["owner"] == "task__project__owner"
    assert {name: each["rows"] for name, each in tables.items() if name != "workshop.Word"} == {
        "workshop.Project": 3,
        "workshop.Task": 15,
        "workshop.Urgent": 3,
        "workshop.Comment": 30,
        "workshop.Attachment": 3,
        "workshop.Invitation": 0,
        "workshop.Label": 6,
        "workshop.Happening": 15,
        "workshop.Mark": 15,
        "workshop.Task_labels": 15,
        "workshop.Task_words": 15,
    }


def test_split__bar_on_a_terminal(site: Site) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "split_to_user_dbs", "--copy", "workshop.Word"],
        cwd=ROOT,
        env=site.environment(),
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    output = b""
    try:
        while chunk := os.read(leader, 4096):
            output += chunk
    except OSError:  # The other side is closed.
        pass
    os.close(leader)
    assert process.wait() == 0, output
    assert "100%" in output.decode()
    assert "3 of 3 user databases filled." in output.decode()


# Whose rows they are


def test_split__rows_of_nobody_and_of_users_who_are_gone_stay_and_are_named(site: Site) -> None:
    output = run(
        site,
        """
source("PRAGMA foreign_keys = OFF")
source("INSERT INTO workshop_project (id, owner_id, name, budget) VALUES (70, NULL, 'of nobody', 0)")
source("INSERT INTO workshop_label (id, owner_id, name) VALUES (71, 99, 'of a user who is gone')")
source("INSERT INTO workshop_word (id, name) VALUES (72, 'that nobody uses')")
source("DELETE FROM auth_user WHERE id = 3")
print(run())
assert source("SELECT id FROM workshop_project WHERE id = 70") == [(70,)]
assert not engine().exists("3") and not engine().exists("99")
document = json.loads(run("--dry-run", "--json"))
tables = {each["model"]: each for each in document["tables"]}
assert tables["workshop.Project"]["nobody"] == [70]
assert tables["workshop.Label"]["gone"].keys() == {"3", "99"}
assert 72 in tables["workshop.Word"]["nobody"]
""",
    )
    assert "workshop.Project: rows of nobody stay in `default`: 70\n" in output
    assert "workshop.Label: rows of user 99, who is gone, stay in `default`: 71\n" in output
    assert re.search(r"workshop.Word: rows of nobody stay in `default`: [\d, ]*72\n", output)
    assert re.search(r"workshop.Task: rows of user 3, who is gone, stay in `default`: ", output)
    assert output.endswith("2 of 2 user databases filled.\n\n")


def test_split__row_whose_chain_is_broken_is_nobodys(site: Site) -> None:
    output = run(
        site,
        """
source("PRAGMA foreign_keys = OFF")
source("INSERT INTO workshop_comment (id, task_id, text) VALUES (90, 9999, 'of no task')")
print(run())
""",
    )
    assert "workshop.Comment: rows of nobody stay in `default`: 90\n" in output


def test_split__keys_between_users_are_refused_before_anything_moves(site: Site) -> None:
    run(
        site,
        """
mine, theirs = source("SELECT id FROM workshop_task GROUP BY project_id ORDER BY project_id")[:2]
owners = dict(source("SELECT task.id, owner_id FROM workshop_task task JOIN workshop_project p"
                     " ON p.id = project_id"))
(a,), (b,) = mine, theirs
source("UPDATE workshop_project SET first_task_id = %s WHERE owner_id = %s", b, owners[a])
label, labels_owner = source("SELECT id, owner_id FROM workshop_label WHERE owner_id = %s", owners[b])[0]
source("UPDATE workshop_task_labels SET label_id = %s WHERE task_id = %s", label, a)
source("UPDATE workshop_happening SET task_id = %s WHERE task_id = %s", b, a)
message, code = refused()
project, = source("SELECT id FROM workshop_project WHERE owner_id = %s", owners[a])[0]
row, = source("SELECT id FROM workshop_task_labels WHERE task_id = %s", a)[0]
happening, = source("SELECT id FROM workshop_happening WHERE task_id = %s AND user_id = %s", b, owners[a])[0]
assert (message, code) == (
    "3 keys would lead out of their user's database, and nothing was moved. Change them in"
    " `default`, or leave their users out with --exclude:\\n"
    f"  workshop.Project {project} of user '{owners[a]}': first_task is a row of user '{owners[b]}'\\n"
    f"  workshop.Happening {happening} of user '{owners[a]}': task is a row of user '{owners[b]}'\\n"
    f"  workshop.Task_labels {row} of user '{owners[a]}': label is a row of user '{owners[b]}'",
    1,
), message
assert not engine().is_initialized()
assert refused("--dry-run")[1] == 1
assert run("--exclude", str(owners[a])).endswith("2 of 2 user databases filled.\\n")
""",
    )


def test_split__key_that_must_name_the_user_is_refused_when_it_names_another(site: Site) -> None:
    run(
        site,
        """
project, = source("SELECT id FROM workshop_project WHERE owner_id = 1")[0]
source("INSERT INTO workshop_invitation (id, project_id, guest_id) VALUES (5, %s, 2)", project)
message, code = refused()  # As it is found: the guest's row in another user's project.
assert message.endswith("  workshop.Invitation 5 of user '2': project is a row of user '1'"), message
owner = ("--owner", "workshop.Invitation=project__owner")
message, code = refused(*owner)
assert message.endswith(
    "  workshop.Invitation 5 of user '1': guest is user '2', and may not be empty"
), message
source("UPDATE workshop_invitation SET guest_id = 1")
run(*owner)
with use_user(1):
    assert Invitation.objects.get().guest_id == 1
""",
    )


def test_split__key_to_a_row_of_nobody_is_refused_and_one_without_constraint_only_when_it_crosses(
    site: Site,
) -> None:
    run(
        site,
        """
source("UPDATE workshop_happening SET task_id = 9999 WHERE user_id = 1")
source("INSERT INTO workshop_project (id, owner_id, name, budget) VALUES (70, NULL, 'of nobody', 0)")
source("UPDATE workshop_project SET parent_id = 70 WHERE owner_id = 2")
message, code = refused()
assert message.endswith("of user '2': parent is a row of nobody") and code == 1, message
assert "1 keys would" in message
source("UPDATE workshop_project SET parent_id = NULL WHERE owner_id = 2")
run()
""",
    )


@pytest.mark.parametrize("way", ["", STREAMED], ids=["attached", "streamed"])
def test_split__key_to_a_row_that_is_not_there_is_found(site: Site, way: str) -> None:
    run(
        site,
        way
        + """
source("PRAGMA foreign_keys = OFF")
row, owner = source("SELECT l.id, owner_id FROM workshop_task_labels l JOIN workshop_task t"
                    " ON t.id = task_id JOIN workshop_project p ON p.id = project_id")[0]
source("UPDATE workshop_task_labels SET label_id = 9999 WHERE id = %s", row)
message, code = refused()
assert message.startswith("1 user databases failed"), message
assert f"  {owner}: The rows of user '{owner}' were not moved: " in message, message
assert "workshop_task_labels" in message and "workshop_label" in message, message
assert not engine().exists(str(owner))
""",
    )


def test_split__generic_key_to_another_users_row_is_refused(site: Site) -> None:
    run(
        site,
        """
from django.contrib.contenttypes.models import ContentType
kind = ContentType.objects.get(app_label="workshop", model="task")
task, owner = source("SELECT t.id, owner_id FROM workshop_task t JOIN workshop_project p"
                     " ON p.id = project_id ORDER BY t.id")[0]
other = next(key for key in (1, 2, 3) if key != owner)
generic = Mark._meta.get_field("target")
generic.contribute_to_class(Happening, "content_object")
from dsud.adoption import plan as planning
happening, = source("SELECT id FROM workshop_happening WHERE user_id = %s LIMIT 1", other)[0]
source("ALTER TABLE workshop_happening ADD COLUMN content_type_id integer")
source("ALTER TABLE workshop_happening ADD COLUMN object_id varchar(36)")
source("UPDATE workshop_happening SET content_type_id = %s, object_id = %s WHERE id = %s",
       kind.pk, str(task), happening)
for field in ("content_type", "object_id"):
    Mark._meta.get_field(field).clone().contribute_to_class(Happening, field)
message, code = refused()
assert message.endswith(
    f"  workshop.Happening {happening} of user '{other}': target is a row of user '{owner}'"
), message
""",
    )


def test_split__path_that_is_missing_or_wrong_is_wrong_usage(site: Site) -> None:
    command = ["split_to_user_dbs"]
    finished = site.manage(*command)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == (
        "CommandError: workshop.Word: no key leads to an owner. Write --owner workshop.Word=PATH,"
        " such as note__author, or --copy workshop.Word to give each user a copy of the rows that"
        " the user's own rows point to.\n"
    )
    finished = site.manage(*command, "--copy", "workshop.Word", "--owner", "workshop.Task")
    assert finished.stderr == (
        "CommandError: --owner workshop.Task: write MODEL=PATH, such as notes.Note=author.\n"
    )
    assert finished.returncode == 2
    finished = site.manage(*command, "--copy", "workshop.Word", "--files-from", "nowhere")
    assert finished.returncode == 2
    assert not site.location.exists()


def test_split__path_that_is_ambiguous_is_wrong_usage(site: Site) -> None:
    run(
        site,
        """
from django.db import models
reviewer = models.ForeignKey(User, models.CASCADE, null=True, related_name="+")
reviewer.contribute_to_class(Label, "reviewer")
source("ALTER TABLE workshop_label ADD COLUMN reviewer_id integer")
assert refused() == (
    "workshop.Label: more than one key leads to an owner. Say which of them it is:\\n"
    "  --owner workshop.Label=owner\\n"
    "  --owner workshop.Label=reviewer",
    2,
)
assert not engine().is_initialized()
tables = json.loads(run("--dry-run", "--json", "--owner", "workshop.Label=owner"))["tables"]
assert {each["model"]: each["rows"] for each in tables}["workshop.Label"] == 6
""",
    )


def test_split__table_that_lacks_columns_is_named(site: Site) -> None:
    run(
        site,
        """
source("ALTER TABLE workshop_comment RENAME COLUMN text TO words")
assert refused() == (
    "The table workshop_comment of `default` lacks the columns text. Take 'workshop' out of"
    " DSUD_APPS, run `manage.py migrate`, put it back, and run this again.",
    1,
)
source("DROP TABLE workshop_mark")
source("ALTER TABLE workshop_comment RENAME COLUMN words TO text")
assert run().endswith("3 of 3 user databases filled.\\n")
""",
    )


# What is there already


@pytest.mark.parametrize("way", ["", STREAMED], ids=["attached", "streamed"])
def test_split__database_that_is_empty_is_filled_and_one_with_rows_refused(
    site: Site, way: str
) -> None:
    run(
        site,
        way
        + """
for key in "12":
    provisioning.provision(key)
with use_user(1):
    Label.objects.create(owner_id=1, name="hers")
message, code = refused()
assert (message, code) == (
    "1 user databases failed, all others are done. Mend the causes and run it again:\\n"
    "  1: The database of user '1' has rows already: workshop.Label. They were left as they are,"
    " and so were the user's rows in `default`. Delete the ones or the others.",
    1,
), message
with use_user(1):
    assert list(Label.objects.values_list("name")) == [("hers",)]
    Label.objects.all().delete()
with use_user(2):
    assert Task.objects.count() == 5
assert "User 2: " in run() and run().endswith("3 of 3 user databases filled.\\n")
with use_user(1):
    assert Task.objects.count() == 5
""",
    )


@pytest.mark.parametrize("way", ["", STREAMED], ids=["attached", "streamed"])
def test_split__rows_that_migrations_put_into_every_new_database_give_way(
    site: Site, made: tuple[Path, str], way: str
) -> None:
    text = run(
        site,
        way
        + """
migrate = schema.migrate_template
def with_rows(settings):
    migrate(settings)
    with closing(sqlite3.connect(settings["NAME"])) as template, template:
        template.execute("INSERT INTO workshop_word (id, name) VALUES (1, 'word3'), (2, 'extra')")
with mock.patch.object(schema, "migrate_template", with_rows):
    run()
print(portraits())
""",
    )
    assert text.strip() == made[1]


@pytest.mark.parametrize("way", ["", STREAMED], ids=["attached", "streamed"])
def test_split__app_that_follows_later_goes_to_databases_with_rows_of_others(
    site: Site, made: tuple[Path, str], way: str
) -> None:
    text = run(
        site,
        way
        + """
run()
for key in "12":  # As if two of the tables had not been user models then.
    with closing(sqlite3.connect(engine().path_of(key))) as database, database:
        database.executescript(
            "DELETE FROM dsud_split WHERE label IN ('workshop.Label', 'workshop.Task_labels');"
            "DELETE FROM workshop_task_labels; DELETE FROM workshop_label;"
        )
with use_user(2):
    Label.objects.create(pk=900, owner_id=2, name="his")
message, code = refused()
assert "  2: The database of user '2' has rows already: workshop.Label. They were" in message, message
with use_user(2):
    Label.objects.all().delete()
lines = run().splitlines()
assert "User 2: 7 rows moved." in lines, lines
assert [line for line in lines if line.startswith("User 1: ") and line.endswith(" moved before.")]
assert run().count(" rows moved before.") == 3
print(portraits())
""",
    )
    assert text.strip() == made[1]


def test_split__database_that_lacks_migrations_is_refused(site: Site) -> None:
    run(
        site,
        """
provisioning.provision("1")
call_command("migrate_user_dbs", "workshop", "zero", "--user", "1", verbosity=0, stdout=io.StringIO())
message, code = refused("--user", "1")
assert message.endswith(
    "  1: The database of user '1' lacks migrations. Run `manage.py migrate_user_dbs --user 1` and"
    " then this again."
), message
call_command("migrate_user_dbs", "--user", "1", verbosity=0, stdout=io.StringIO())
run("--user", "1")
""",
    )


def test_split__database_that_is_lost_is_not_made_anew(site: Site) -> None:
    run(
        site,
        """
run("--user", "1")
connections["user_1"].close()
engine().path_of("1").unlink()
message, code = refused("--user", "1")
assert "is registered but its file is missing" in message, message
assert not engine().exists("1")
""",
    )


def test_split__source_that_changed_after_the_move_is_found(site: Site) -> None:
    run(
        site,
        """
run()
with use_user(1):
    Label.objects.create(owner_id=1, name="what she writes afterwards is no matter")
assert "User 1: " in run()
source("UPDATE workshop_comment SET text = 'too late' WHERE id ="
       " (SELECT min(c.id) FROM workshop_comment c JOIN workshop_task t ON t.id = task_id"
       "  JOIN workshop_project p ON p.id = project_id WHERE owner_id = 1)")
expected = (
    "The rows of user '1' in `default` are not those that were moved: workshop.Comment."
    " Keep everybody from writing there, and compare them."
)
assert refused() == (
    "1 user databases failed, all others are done. Mend the causes and run it again:\\n"
    f"  1: {expected}", 1
)
message, code = refused("--delete-source")
assert message.endswith(f"  1: {expected}") and code == 1
assert source("SELECT count(*) FROM workshop_task") == [(15,)]
""",
    )


@pytest.mark.parametrize("way", ["", STREAMED], ids=["attached", "streamed"])
def test_split__row_that_changes_while_it_is_moved_is_found(site: Site, way: str) -> None:
    run(
        site,
        way
        + """
provisioning.provision("2")
from dsud.adoption import attached, carriers
for load in (attached.AttachedLoad, carriers.StreamingLoad):
    def contents(self, read=load.contents):
        connection = sqlite3.connect(connections["default"].settings_dict["NAME"], timeout=5)
        with closing(connection), connection:
            connection.execute("UPDATE workshop_label SET name = 'changed' || random()")
        return read(self)
    mock.patch.object(load, "contents", contents).start()
message, code = refused()
assert message.count("are not those that were moved: workshop.Label.") == 3, message
mock.patch.stopall()
assert not engine().exists("1")
with use_user(2):
    assert not Task.objects.exists()
""",
    )


# Deleting


def test_delete_source__only_what_is_moved(site: Site, made: tuple[Path, str]) -> None:
    text = run(
        site,
        """
run("--user", "1")
message, code = refused("--delete-source")
everything = (
    "workshop.Project, workshop.Task, workshop.Attachment, workshop.Comment, workshop.Happening,"
    " workshop.Label, workshop.Mark, workshop.Task_labels, workshop.Word, workshop.Task_words,"
    " workshop.Urgent"
)
assert (message, code) == (
    "Nothing was deleted, because not everything is moved. Run `manage.py split_to_user_dbs` without"
    " --delete-source until it succeeds:\\n"
    f"  2: The rows of user '2' were never moved: {everything}.\\n"
    f"  3: The rows of user '3' were never moved: {everything}.",
    1,
), message
assert source("SELECT count(*) FROM workshop_task") == [(15,)]
source("INSERT INTO workshop_project (id, owner_id, name, budget) VALUES (70, NULL, 'of nobody', 0)")
source("INSERT INTO workshop_word (id, name) VALUES (72, 'that nobody uses')")
unused = source("SELECT count(*) FROM workshop_word WHERE id NOT IN"
                " (SELECT word_id FROM workshop_task_words)")
output = run("--delete-source", "--user", "1")
assert output.endswith("1 of 1 user databases cleared from default.\\n"), output
assert source("SELECT count(*) FROM workshop_task") == [(10,)]
assert source("SELECT count(*) FROM workshop_word WHERE id IN"
              " (SELECT word_id FROM workshop_task_words)")[0][0] > 0
run()
run("--delete-source")
for table in ("task", "urgent", "comment", "attachment", "label", "happening", "mark", "task_words"):
    assert source(f"SELECT count(*) FROM workshop_{table}") == [(0,)], table
assert source("SELECT name FROM workshop_project") == [("of nobody",)]
assert source("SELECT count(*) FROM workshop_word") == unused
assert run("--delete-source").endswith("0 of 0 user databases cleared from default.\\n")
print(portraits())
""",
    )
    assert text.strip() == made[1]


def test_delete_source__nobody_writes_between_the_last_look_and_the_deletion(site: Site) -> None:
    run(
        site,
        """
from dsud.adoption.removal import Removal
run()
connections["default"].transaction_mode = None
verify, tried = Removal._verify, []
def verify_and_write(self, key):
    verify(self, key)
    if connections["default"].in_atomic_block:
        connection = sqlite3.connect(connections["default"].settings_dict["NAME"], timeout=0)
        with closing(connection):
            try:
                connection.execute("INSERT INTO workshop_label (owner_id, name) VALUES (1, 'late')")
            except sqlite3.OperationalError as error:
                tried.append(str(error))
with mock.patch.object(Removal, "_verify", verify_and_write):
    run("--delete-source")
assert tried == ["database is locked"] * 3, tried
""",
    )


def test_delete_source__what_others_point_to_stays(site: Site) -> None:
    run(
        site,
        """
run()
task, = source("SELECT min(t.id) FROM workshop_task t JOIN workshop_project p ON p.id = project_id"
               " WHERE owner_id = 2")[0]
source("INSERT INTO workshop_project (id, owner_id, name, budget, first_task_id)"
       " VALUES (70, NULL, 'of nobody', 0, %s)", task)
message, code = refused("--delete-source")
assert "  2: The rows of user '2' in `default` were not deleted: " in message, message
assert message.endswith("Something there still points to them."), message
assert source("SELECT count(*) FROM workshop_task") == [(5,)]
""",
    )


# Faults


def test_split__disk_that_is_full_leaves_everybody_as_they_were(site: Site) -> None:
    run(
        site,
        """
provisioning.provision("2")
fill = attached.AttachedLoad.fill
def full(self, owner):
    self._raw.execute("PRAGMA target.max_page_count = 1")
    return fill(self, owner)
with mock.patch.object(attached.AttachedLoad, "fill", full):
    source("UPDATE workshop_comment SET text = hex(randomblob(5000))")
    message, code = refused()
assert message.splitlines()[1:] == [
    f"  {key}: The rows of user '{key}' were not moved: database or disk is full."
    " Nothing was changed; mend the cause and run this again."
    for key in "123"
], message
assert [engine().exists(key) for key in "123"] == [False, True, False]
assert not list(engine().location.glob("*/*/new-*"))
with use_user(2):
    assert not Task.objects.exists()
from dsud.engines.sqlite import files
with mock.patch.object(files, "write_for_now", side_effect=OSError(28, "No space left on device")):
    message, code = refused("--user", "1")
assert message.endswith(
    "  1: The rows of user '1' were not moved: [Errno 28] No space left on device."
    " Nothing was changed; mend the cause and run this again."
), message
run()
with use_user(2):
    assert Comment.objects.count() == 10
""",
    )


@pytest.mark.parametrize("way", ["", STREAMED], ids=["attached", "streamed"])
def test_split__killed_between_publishing_and_registering_is_registered_by_the_next_run(
    site: Site, made: tuple[Path, str], way: str
) -> None:
    text = run(
        site,
        way
        + """
from dsud import registrations
from dsud.signals import user_database_provisioned
def killed(_):
    with mock.patch.object(registrations.Registrations, "write", lambda self: os.kill(os.getpid(), 9)):
        run()
connections.close_all()
assert in_children(1, killed) == [-9]
assert sorted(engine().keys()) == ["1", "2", "3"]
assert not UserDatabase.objects.exists()
before = portraits()  # Nobody waits for the registry.
told = []
def receive(*, user_key, **kwargs):
    told.append(user_key)
user_database_provisioned.connect(receive)
assert run().count(" rows moved before.") == 3
assert sorted(told) == ["1", "2", "3"]
assert UserDatabase.objects.filter(state="ready", size__gt=0).exclude(schema="").count() == 3
assert portraits() == before
print(before)
""",
    )
    assert text.strip() == made[1]


def test_split__registry_that_cannot_be_written_is_named_and_written_by_the_next_run(
    site: Site,
) -> None:
    run(
        site,
        """
from django.db import OperationalError
with mock.patch.object(provisioning, "register", side_effect=OperationalError("disk I/O error")):
    assert refused() == (
        "The databases of 3 users are filled, but `default` did not register them: disk I/O error."
        " Mend that and run this again, which registers them: 1, 2, 3.",
        1,
    )
assert not UserDatabase.objects.exists()
assert run().count(" rows moved before.") == 3
assert UserDatabase.objects.filter(state="ready").count() == 3
""",
    )


def test_split__nobody_is_deleted_between_the_look_at_users_and_their_registration(
    site: Site,
) -> None:
    run(
        site,
        """
from dsud import registrations
source("SELECT 1")  # Connected, because that sets the mode.
connections["default"].transaction_mode = None
look, tried = registrations._users_there, []
def look_and_delete(keys):
    found = look(keys)
    path = connections["default"].settings_dict["NAME"]
    with closing(sqlite3.connect(path, timeout=0)) as connection:
        try:
            connection.execute("DELETE FROM auth_user WHERE id = 1")
        except sqlite3.OperationalError as error:
            tried.append(str(error))
    return found
with mock.patch.object(registrations, "_users_there", look_and_delete):
    run()
assert tried == ["database is locked"], tried
""",
    )


def test_split__new_database_is_synced_once_and_in_wal_mode_when_it_is_published(
    site: Site,
) -> None:
    run(
        site,
        """
from dsud.engines.sqlite import files, image
events, sync, publish = [], os.fsync, files.publish
def synced(descriptor):
    name = os.readlink(f"/proc/self/fd/{descriptor}").rsplit("/", 1)[1]
    events.append(f"sync {name}")
    sync(descriptor)
def published(staged, key, **more):
    assert os.listdir(staged) == ["db.sqlite3"]
    events.append("publish")
    return publish(staged, key, **more)
provisioning.initialize_location("1")
provisioning.prepare()
with mock.patch.object(os, "fsync", synced), mock.patch.object(files, "publish", published):
    run("--user", "1")
assert events == ["sync db.sqlite3", "publish", "sync 1"], events
with closing(sqlite3.connect(engine().path_of("1"))) as database:
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("PRAGMA auto_vacuum").fetchone() == (2,)
""",
    )


@pytest.mark.slow
def test_split__killed_at_any_moment_is_completed_by_the_next_run(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("killed")
    before = make_site(directory, users=40, units=2)
    site = copy_of(directory, directory / "site")
    report = json.loads(
        run(
            site,
            """
choice = random.Random(7)
for key in range(1, 41, 5):
    provisioning.provision(str(key))
def split_all(_):
    run("--json")
def survey():
    found = {}
    for user in User.objects.all():
        key = str(user.pk)
        if engine().exists(key):
            with closing(sqlite3.connect(engine().path_of(key))) as database:
                assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                found[key] = database.execute("SELECT count(*) FROM workshop_task").fetchone()[0]
    return found
planning = calls_of(lambda: run("--json", "--dry-run"))
moving = calls_of(lambda: run("--json", "--user", "1", "--user", "2")) - planning
kills = 0
seen = []
for attempt in range(1, 29):
    connections.close_all()
    # Drawn here, or every child would draw the same; ever later, for a run looks at what is done first.
    moment = planning + choice.randrange(attempt * moving // 2)
    child = os.fork()
    if child == 0:
        sys.setprofile(KilledAt(moment))
        split_all(0)
        os._exit(0)
    kills += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    found = survey()
    assert set(found.values()) <= {0, 10}, found
    seen.append(list(found.values()).count(10))
assert sorted(seen) == seen
connections.close_all()
assert in_children(1, split_all) == [0]
assert list(survey().values()) == [10] * 40
assert not list(engine().location.glob("*/*/new-*"))
assert UserDatabase.objects.filter(state="ready").count() == 40
print(json.dumps([kills, seen, portraits()]))
""",
        )
    )
    kills, seen, after = report
    assert kills >= 8
    assert len(set(seen)) > 2, sorted(set(seen))  # The moments were spread over the run.
    assert after == before


def test_split__two_at_once_move_each_user_once(site: Site, made: tuple[Path, str]) -> None:
    text = run(
        site,
        """
def split_all(index):
    print(run())
assert in_children(4, split_all) == [0] * 4
print(portraits())
""",
    )
    *reports, after = text.strip().rsplit("\n", 1)
    assert after == made[1]
    assert "".join(reports).count(" rows moved.") == 3
    assert "".join(reports).count(" rows moved before.") == 9


# Files


FILES = """
from pathlib import Path
from django.conf import settings
from dsud.contrib.storage import UserFileStorage
Attachment._meta.get_field("file").storage = UserFileStorage()
media = Path(settings.MEDIA_ROOT) / "attachments"
media.mkdir(parents=True)
owners = dict(source("SELECT file, owner_id FROM workshop_attachment a JOIN workshop_task t"
                     " ON t.id = task_id JOIN workshop_project p ON p.id = project_id"))
for name, owner in owners.items():
    (media.parent / name).write_text(f"of {owner}")
"""


def test_split__files_go_where_the_storage_keeps_those_of_users(site: Site) -> None:
    run(
        site,
        FILES
        + """
provisioning.provision("2")
missing = media.parent / next(name for name, owner in owners.items() if owner in (2, 3))
missing.rename(missing.with_suffix(".away"))
owner = owners[str(missing.relative_to(media.parent))]
message, code = refused()
assert message.endswith(
    f"  {owner}: The file 'attachments/{missing.name}' of user '{owner}' is not where files are now."
    " Bring it back, say with --files-from where files are, or empty the field in `default`."
), message
missing.with_suffix(".away").rename(missing)
run()
for user in User.objects.all():
    with use_user(user):
        attachment = Attachment.objects.get()
        with attachment.file.open() as file:
            assert file.read() == f"of {user.pk}".encode()
        path = Path(attachment.file.path)
        assert path.is_relative_to(engine().files_directory(str(user.pk)))
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
assert len(list(media.iterdir())) == 3
""",
    )


def test_split__file_of_the_same_name_is_not_overwritten(site: Site) -> None:
    run(
        site,
        FILES
        + """
from dsud.adoption.media import UNFINISHED
provisioning.provision("2")
name = next(name for name, owner in owners.items() if owner == 2)
with use_user(2):
    path = engine().files_directory("2") / name
    path.parent.mkdir()
    path.write_text("of somebody else")
message, code = refused()
assert message.endswith(
    f"  2: The file '{name}' of user '2' is not the one that is in the user's directory."
    " Keep everybody from writing, and compare the two."
), message
assert path.read_text() == "of somebody else"
path.rename(path.with_name(path.name + UNFINISHED))  # As a killed run leaves it.
run()
assert [each.name for each in path.parent.iterdir()] == [path.name]
assert path.read_text() == "of 2"
""",
    )


def test_split__files_stay_where_they_are_with_any_other_storage(site: Site) -> None:
    run(
        site,
        """
run()
with use_user(1):
    assert Attachment.objects.get().file.name.startswith("attachments/")
    assert not list(engine().files_directory("1").iterdir())
""",
    )


# As large as sites are


@pytest.mark.slow
@pytest.mark.once
def test_split__site_of_300_users_and_200000_rows(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("large")
    before = make_site(directory, users=300, units=17)
    site = Site(directory, settings="tests.workshop.settings")
    text = run(
        site,
        """
count = sum(each["rows"] for each in json.loads(run("--dry-run", "--json"))["tables"])
assert count >= 200_000, count
assert run().endswith("300 of 300 user databases filled.\\n")
after = portraits()
run("--delete-source")
assert not Task.objects.using("default").exists()
print(after)
""",
    )
    assert text.strip() == before
