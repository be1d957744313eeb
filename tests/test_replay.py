"""What may be replayed and what not, and each trap that replay has met."""

import dataclasses
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import django
import pytest
import pytest_django
from django.apps import apps
from django.db import migrations, transaction
from django.db.backends.signals import connection_created
from django.db.transaction import TransactionManagementError
from django.db.utils import IntegrityError

from dsud import plans, recording, replay
from dsud.engines.sqlite.replaying import SQLiteReplayer, beginning
from tests import histories
from tests.histories import History, assert_same, dump, opened, plans_to, replays

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("location")]

NOTE = """
migrations.CreateModel("Shelf", [
    ("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50)),
]),
migrations.CreateModel("Item", [
    ("id", models.BigAutoField(primary_key=True)),
    ("n", models.IntegerField(null=True)),
    ("shelf", models.ForeignKey("evolution.Shelf", models.CASCADE)),
]),
"""
ROWS = """
INSERT INTO evolution_shelf (id, name) VALUES (1, 'one'), (2, 'two');
INSERT INTO evolution_item (n, shelf_id) VALUES (1, 1), (2, 1), (NULL, 2);
"""
REBUILD = "migrations.AlterField('shelf', 'name', models.CharField(max_length=50, unique=True)),"
ADD = "migrations.AddField('shelf', 'added', models.IntegerField(null=True)),"


@pytest.fixture
def history(
    settings: pytest_django.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> History:
    """Return a history that begins with two tables."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.evolution"]
    apps.clear_cache()  # Because Django does not while it loads apps.
    settings.DSUD_APPS = [*settings.DSUD_APPS, "evolution"]
    monkeypatch.syspath_prepend(tmp_path)

    def set_module(name: str) -> None:
        settings.MIGRATION_MODULES = {"evolution": name}

    history = History(tmp_path, set_module)
    history.write("0001_setup", NOTE)
    return history


@pytest.fixture
def start(history: History, tmp_path: Path) -> Path:
    """Return a database with the first migration and rows."""
    return made(tmp_path / "start.db", "0001")


def made(path: Path, target: str) -> Path:
    path.touch()
    histories.django_migrates(path, "evolution", target)
    script(path, ROWS)
    return path


def script(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(f"PRAGMA synchronous = OFF;{sql}")
        raw.commit()


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute(sql).fetchall()


def copy(path: Path, name: str) -> Path:
    return Path(shutil.copyfile(path, path.with_name(f"{name}.db")))


def plan_of(path: Path, *target: str) -> plans.Plan | None:
    found = plans_to(*target)
    with opened(path) as connection:
        return found.find(connection)


def plan_in(connection: object, *, is_complete: bool = True) -> plans.Plan:
    """Return the plan to the newest migration, as if nothing else were missing."""
    plan = plans_to("evolution").find(connection)
    assert plan is not None
    return dataclasses.replace(plan, is_complete=is_complete)


# The rule: what may be replayed


@pytest.mark.parametrize(
    ("operations", "code", "kind"),
    [
        (ADD, "", "SQL"),
        ("migrations.RunPython(migrations.RunPython.noop)", "", "SQL"),
        ("migrations.RunPython(work)", "def work(apps, editor): pass", "SQL and code"),
        (
            "migrations.SeparateDatabaseAndState(database_operations=[migrations.RunPython(work)])",
            "def work(apps, editor): pass",
            "SQL and code",
        ),
        (
            "Sub('shelf', 'added', models.IntegerField(null=True))",
            "class Sub(migrations.AddField): pass",
            "by Django's operations",
        ),
        (
            "migrations.SeparateDatabaseAndState([Sub('shelf', 'a', models.TextField(null=True))])",
            "class Sub(migrations.AddField): pass",
            "by Django's operations",
        ),
        (
            "Sub(work)",
            "class Sub(migrations.RunPython): pass\ndef work(apps, editor): pass",
            "SQL and code",
        ),
    ],
)
def test_rule__class_of_the_operation(
    history: History, start: Path, operations: str, code: str, kind: str
) -> None:
    history.write("0002_change", operations, code=code)
    plan = plan_of(start, "evolution")
    assert plan is not None
    assert plan.kind == kind
    assert assert_same(start, "evolution") == kind


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA foreign_keys = ON",
        "  -- why\n /* odd */ ;; pragma user_version = 3",
        "REINDEX",
        "ANALYZE",
        "/* VACUUM */ SAVEPOINT a",
    ],
)
def test_rule__statement_that_is_none_of_a_transaction(
    history: History, start: Path, statement: str
) -> None:
    history.write("0002_change", f"migrations.RunSQL([({statement!r}, None)]), {ADD}")
    plan = plan_of(start, "evolution")
    assert plan is not None
    assert plan.separate == "evolution.0002_change runs a statement that is none of a transaction"
    assert plan.kind == "migration by migration"


@pytest.mark.parametrize(
    ("sql", "start"),
    [
        ("-- VACUUM\nSELECT 1", "SELECT 1"),
        ("/* a */ /* b */ -- c\n\t UPDATE x", "UPDATE x"),
        ("SELECT '-- VACUUM'", "SELECT '-- VACUUM'"),
        ("-- only", ""),
        ("/* never ends", ""),
        (";;ANALYZE", "ANALYZE"),
    ],
)
def test_beginning__after_comments(sql: str, start: str) -> None:
    assert beginning(sql) == start


def test_rule__words_that_only_begin_alike(history: History, start: Path) -> None:
    history.write(
        "0002_change",
        'migrations.RunSQL(\'CREATE TABLE "vacuum" ("begin" int); DROP TABLE vacuum\')',
    )
    assert assert_same(start, "evolution") == "SQL"


def test_rule__migration_that_is_not_atomic_but_only_sql(history: History, start: Path) -> None:
    history.write("0002_change", ADD + REBUILD, extra="atomic = False")
    assert assert_same(start, "evolution") == "SQL"


def test_rule__code_in_a_migration_that_is_not_atomic(history: History, start: Path) -> None:
    code = """
    def work(apps, editor):
        assert not editor.connection.in_atomic_block
        apps.get_model("evolution", "Shelf").objects.create(name="new")
    """
    history.write("0002_add", ADD)
    history.write("0003_work", "migrations.RunPython(work)", extra="atomic = False", code=code)
    plan = plan_of(start, "evolution")
    assert plan is not None
    assert plan.separate == "evolution.0003_work is not atomic"
    assert assert_same(start, "evolution") == "migration by migration"


def test_rule__recording_that_fails_is_told_once_and_touches_nobody(
    history: History, start: Path
) -> None:
    history.write("0002_change", ADD)
    history.write("0003_fails", "migrations.RunSQL('SELECT nonsense FROM nowhere')")
    before, found = dump(start), plans_to("evolution")
    with opened(start) as connection:
        for _ in range(2):
            with pytest.raises(recording.RecordingFailed) as caught:
                found.find(connection)
            assert str(caught.value) == (
                "evolution.0003_fails fails on an empty copy of the database: OperationalError: no such"
                " table: nowhere. Mend it and run the migration again; no database in this state was"
                " touched."
            )
    assert dump(start) == before


def test_rule__recording_that_may_fail_for_want_of_code_is_left_to_django(
    history: History, start: Path
) -> None:
    code = """
    def make(apps, editor):
        editor.execute("CREATE TABLE by_code (a TEXT)")
    """
    history.write("0002_code", "migrations.RunPython(make)", code=code)
    history.write("0003_uses", "migrations.RunSQL(\"INSERT INTO by_code VALUES ('x')\")")
    assert assert_same(start, "evolution") == "Django"


def test_rule__database_that_changed_since_its_plan(history: History, start: Path) -> None:
    history.write("0002_change", ADD)
    plan = plan_of(start, "evolution")
    script(start, "CREATE TABLE extra (a)")
    before = dump(start)
    with opened(start) as connection, pytest.raises(replay.StateChanged) as caught:
        replay.replay(plan, connection, SQLiteReplayer())
    assert str(caught.value) == (
        "The database was changed by somebody else. Run the migration again."
    )
    assert dump(start) == before


@pytest.mark.parametrize(
    ("sql", "is_refused"),
    [
        ("CREATE TABLE added (n INTEGER)", True),
        ("DELETE FROM django_migrations", True),
        ("DELETE FROM evolution_item", False),
    ],
)
def test_rule__database_that_is_changed_after_its_plan_was_found(
    history: History, start: Path, sql: str, is_refused: bool
) -> None:
    history.write("0002_change", ADD)
    found = plans_to("evolution")
    with opened(start) as connection:
        seen = found.replayer.version(connection)
        plan = found.find(connection)
        assert plan is not None
        assert found.replayer.version(connection) == seen
        with closing(sqlite3.connect(start)) as other:
            other.execute(sql)
            other.commit()
        assert found.replayer.version(connection) != seen
        if is_refused:
            with pytest.raises(replay.StateChanged):
                replay.replay(plan, connection, found.replayer, seen=seen)
        else:
            replay.replay(plan, connection, found.replayer, seen=seen)
    applied = rows(start, "SELECT 1 FROM django_migrations WHERE name = '0002_change'")
    assert bool(applied) is not is_refused


def test_rule__own_rows_change_the_version(start: Path) -> None:
    replayer = SQLiteReplayer()
    with opened(start) as connection, connection.cursor() as cursor:
        seen = replayer.version(connection)
        cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('a', 'b', 'c')")
        assert replayer.version(connection) != seen


@pytest.mark.parametrize(
    ("sql", "is_so"),
    [
        ('CREATE INDEX "i" ON "t" ("n")', True),
        ('/* c */ CREATE UNIQUE INDEX "i" ON "t" ("n")', True),
        ('ALTER TABLE "t" ADD COLUMN "n" integer NULL', True),
        ('ALTER TABLE "t" ADD COLUMN "n" integer NULL REFERENCES "u" ("id")', False),
        ('ALTER TABLE "t" DROP COLUMN "n"', False),
        ('ALTER TABLE "t" RENAME TO "u"', False),
        ('DROP INDEX "i"', False),
        ('CREATE TABLE "t" ("id" integer)', False),
        ("UPDATE t SET n = 1", False),
    ],
)
def test_leaves_keys_alone(sql: str, is_so: bool) -> None:
    assert SQLiteReplayer().leaves_keys_alone(sql) is is_so


def test_checks__only_where_they_can_find_something(history: History, start: Path) -> None:
    history.write("0002_add", "migrations.AddField('item', 'a', models.IntegerField(null=True)),")
    history.write("0003_add", "migrations.AddField('item', 'b', models.IntegerField(null=True)),")
    history.write("0004_sql", 'migrations.RunSQL("UPDATE evolution_item SET a = 1", "")')
    history.write("0005_add", "migrations.AddField('item', 'c', models.IntegerField(null=True)),")
    plan = plan_of(start, "evolution")
    assert plan is not None
    checked = [
        part.migration.name
        for part in plan.parts
        if part.migration and any(isinstance(step, plans.Check) for step in part.steps)
    ]
    assert checked == ["0002_add", "0004_sql"]
    assert assert_same(start, "evolution") == "SQL"


def test_rule__database_with_another_ledger(history: History, start: Path) -> None:
    history.write("0002_change", ADD)
    plan = plan_of(start, "evolution")
    script(start, "INSERT INTO django_migrations (app, name, applied) VALUES ('a', 'b', 'c')")
    with opened(start) as connection, pytest.raises(replay.StateChanged):
        replay.replay(plan, connection, SQLiteReplayer())


def test_rule__recorded_once_for_all_in_one_state(
    history: History, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.write("0002_change", REBUILD)
    recorded = []
    record = replay.record
    monkeypatch.setattr(
        replay, "record", lambda *args, **rest: recorded.append(args) or record(*args, **rest)
    )
    found = plans_to("evolution")
    drifted = copy(start, "drifted")
    script(drifted, "CREATE INDEX by_hand ON evolution_item (n)")
    for path in (start, copy(start, "other"), drifted, copy(drifted, "too")):
        replays(path, found)
    assert len(recorded) == 2
    assert rows(drifted, "SELECT 1 FROM sqlite_master WHERE name = 'by_hand'")


def test_rule__rehearsal_that_ends_elsewhere_is_not_trusted(
    history: History, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.write("0002_change", ADD)
    monkeypatch.setattr(plans.Statement, "play", lambda self, stage: None)
    assert plan_of(start, "evolution") is None
    assert assert_same(start, "evolution") == "Django"


def test_taint__known_operation_that_works_beside_the_editor(
    history: History, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwards = migrations.AddField.database_forwards

    def patched(self, app_label, editor, from_state, to_state):
        forwards(self, app_label, editor, from_state, to_state)
        with editor.connection.cursor() as cursor:
            cursor.execute("UPDATE evolution_shelf SET added = id")

    monkeypatch.setattr(migrations.AddField, "database_forwards", patched)
    history.write("0002_change", ADD)
    assert assert_same(start, "evolution") == "by Django's operations"


def test_code__is_not_run_while_recording(history: History, start: Path) -> None:
    """The rows are missing that it counts on, and what it does elsewhere would be done once more."""
    code = """
    def work(apps, editor):
        apps.get_model("evolution", "Shelf").objects.get(name="one")
    """
    history.write("0002_change", f"migrations.RunPython(work), {ADD}", code=code)
    assert assert_same(start, "evolution") == "SQL and code"


# Traps


@pytest.mark.skipif(django.VERSION < (6, 1), reason="Django has no such keys yet")
def test_trap__rebuild_of_a_table_with_keys_that_cascade_keeps_their_rows(
    history: History, tmp_path: Path
) -> None:
    """Because foreign keys are turned off before the transaction, where SQLite would ignore it."""
    history.write(
        "0002_cascade",
        "migrations.AlterField('item', 'shelf', models.ForeignKey('evolution.Shelf', models.DB_CASCADE))",
    )
    start = made(tmp_path / "cascading.db", "0002")
    history.write("0003_rebuild", REBUILD)
    assert assert_same(start, "evolution") == "SQL"
    assert rows(tmp_path / "cascading_re.db", "SELECT count(*) FROM evolution_item") == [(3,)]


def test_trap__order_of_columns_of_a_table_that_is_rebuilt_after_a_parent(
    history: History, tmp_path: Path
) -> None:
    """It depends on which state was rendered first."""
    history.write(
        "0002_child",
        "migrations.CreateModel('Child', [('shelf_ptr', models.OneToOneField('evolution.Shelf',"
        "models.CASCADE, parent_link=True, primary_key=True)), ('b', models.TextField()),"
        "('a', models.IntegerField(null=True))], bases=('evolution.shelf',)),"
        "migrations.RenameField('child', 'a', 'c'),"
        "migrations.AddField('child', 'a', models.TextField(default='')),",
    )
    start = made(tmp_path / "ordered.db", "0002")
    history.write(
        "0003_change",
        "migrations.AlterField('shelf', 'id', models.AutoField(primary_key=True)),"
        "migrations.AlterField('child', 'c', models.TextField(null=True)),"
        "migrations.RemoveField('child', 'b'),",
    )
    assert assert_same(start, "evolution") == "SQL"
    assert assert_same(tmp_path / "ordered_re.db", "evolution", "0002") == "SQL"
    assert assert_same(start, "evolution", "zero") == "SQL"


def test_trap__states_of_code_are_rendered_once_for_all_databases(
    history: History, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
    def work(apps, editor):
        apps.get_model("evolution", "Shelf").objects.create(name="made")
    """
    history.write("0002_change", f"{REBUILD} migrations.RunPython(work), {ADD}", code=code)
    found = plans_to("evolution")
    replays(copy(start, "first"), found)
    rendered = []
    render = django.db.migrations.state.ModelState.render
    monkeypatch.setattr(
        django.db.migrations.state.ModelState,
        "render",
        lambda self, apps: rendered.append(self) or render(self, apps),
    )
    for name in ("second", "third"):
        replays(path := copy(start, name), found)
        assert rows(path, "SELECT name FROM evolution_shelf WHERE name = 'made'") == [("made",)]
    assert rendered == []


def test_trap__callable_default_is_everybodys_own(history: History, start: Path) -> None:
    history.write(
        "0002_change",
        "migrations.AddField('shelf', 'secret', models.UUIDField(default=uuid.uuid4)),"
        "migrations.AddField('shelf', 'fixed', models.UUIDField(default=uuid.UUID(int=7))),",
    )
    found, secrets = plans_to("evolution"), set()
    for name in ("a", "b", "c"):
        replays(path := copy(start, name), found)
        here = rows(path, "SELECT DISTINCT secret FROM evolution_shelf")
        assert len(here) == 1  # As Django gives it: one value for all rows of a database.
        secrets.update(here)
        assert rows(path, "SELECT DISTINCT fixed FROM evolution_shelf") == [(f"{7:032x}",)]
    assert len(secrets) == 3


def test_trap__time_in_the_ledger_is_everybodys_own(history: History, start: Path) -> None:
    history.write("0002_change", ADD)
    found = plans_to("evolution")
    times = set()
    for name in ("a", "b"):
        replays(path := copy(start, name), found)
        times.update(rows(path, "SELECT applied FROM django_migrations WHERE name = '0002_change'"))
    assert len(times) == 2


def test_trap__functions_of_django_and_of_the_site(history: History, start: Path) -> None:
    """Stored generated columns and checks call them; those of a site come with ``connection_created``."""

    def register(connection: object, **kwargs: object) -> None:
        connection.connection.create_function("of_site", 1, lambda value: value + 1)

    connection_created.connect(register)
    try:
        history.write(
            "0002_change",
            "migrations.RunSQL('UPDATE evolution_shelf SET name = of_site(41)'),"
            "migrations.AddConstraint('item', models.CheckConstraint("
            f"**{{{'condition'!r}: Q(n__lt=Value(3) + Ceil(Value(0.5)))}}, name='c')),"
            "migrations.RunSQL(\"UPDATE evolution_shelf SET name = MD5(name) WHERE name REGEXP '4'\"),",
        )
        assert assert_same(start, "evolution") == "SQL"
    finally:
        connection_created.disconnect(register)


def test_trap__plan_of_a_squash_follows_the_ledger(history: History, tmp_path: Path) -> None:
    history.write("0002_add", ADD)
    history.write("0003_rebuild", REBUILD)
    half, whole = made(tmp_path / "half.db", "0002"), made(tmp_path / "all.db", "0003")
    (none := tmp_path / "none.db").touch()
    history.write(
        "0004_squashed",
        NOTE + ADD + REBUILD,
        extra="""
        dependencies = []
        replaces = [("evolution", "0001_setup"), ("evolution", "0002_add"), ("evolution", "0003_rebuild")]
        """,
    )
    found = plans_to("evolution")
    for path in (none, half, whole):
        assert assert_same(path, "evolution", plans=found) == "SQL"
        replayed = path.with_name(f"{path.stem}_re.db")
        applied = {name for (name,) in rows(replayed, "SELECT name FROM django_migrations")}
        assert applied == {"0001_setup", "0002_add", "0003_rebuild", "0004_squashed"}
        assert assert_same(replayed, "evolution", "zero") == "SQL"


def test_trap__index_that_was_renamed_by_hand(history: History, start: Path) -> None:
    """Django looks for its name; so does the recording, because it is made on a clone of this schema."""
    script(
        start,
        "DROP INDEX evolution_item_shelf_id_"
        + next(
            name.rpartition("_shelf_id_")[2]
            for (name,) in rows(
                start, "SELECT name FROM sqlite_master WHERE name LIKE '%shelf_id%'"
            )
        )
        + "; CREATE INDEX by_hand ON evolution_item (shelf_id)",
    )
    history.write(
        "0002_change",
        "migrations.AlterField('item', 'shelf',"
        "models.ForeignKey('evolution.Shelf', models.CASCADE, db_index=False)),",
    )
    assert assert_same(start, "evolution") == "SQL"


def test_trap__broken_key_that_a_later_migration_repairs(history: History, start: Path) -> None:
    """Django fails at the earlier one, so replay does."""
    history.write("0002_breaks", "migrations.RunSQL('UPDATE evolution_item SET shelf_id = 77')")
    history.write("0003_repairs", "migrations.RunSQL('UPDATE evolution_item SET shelf_id = 1')")
    before = dump(start)
    with pytest.raises(IntegrityError, match=r"evolution_item\.shelf_id contains a value '77'"):
        replays(start, plans_to("evolution"))
    assert dump(start) == before


def test_trap__failure_leaves_nothing_of_the_migrations_before_it(
    history: History, start: Path
) -> None:
    """Where Django would leave them applied."""
    history.write("0002_add", ADD)
    history.write("0003_fails", "migrations.RunSQL('UPDATE evolution_shelf SET id = 1')")
    before = dump(start)
    with pytest.raises(IntegrityError, match=r"UNIQUE constraint failed: evolution_shelf\.id"):
        replays(start, plans_to("evolution"))
    assert dump(start) == before


def test_trap__what_django_loses_in_a_rebuild_is_lost_as_with_django(
    history: History, start: Path
) -> None:
    script(
        start,
        """
        ALTER TABLE evolution_shelf ADD COLUMN by_hand TEXT DEFAULT 'x';
        CREATE TRIGGER noticed AFTER UPDATE ON evolution_shelf BEGIN SELECT 1; END;
        INSERT INTO evolution_shelf (id, name) VALUES (1000, 'gone');
        DELETE FROM evolution_shelf WHERE id = 1000;
        """,
    )
    history.write("0002_change", REBUILD)
    assert assert_same(start, "evolution") == "SQL"
    replayed = start.with_name("start_re.db")
    assert rows(replayed, "SELECT 1 FROM sqlite_master WHERE name = 'noticed'") == []


def test_trap__view_over_a_table_that_is_rebuilt_fails_as_with_django(
    history: History, start: Path
) -> None:
    script(start, "CREATE VIEW seen AS SELECT name FROM evolution_shelf")
    history.write("0002_change", REBUILD)
    assert assert_same(start, "evolution") == "failed"


def test_trap__full_text_search_and_triggers_are_cloned(history: History, start: Path) -> None:
    script(
        start,
        """
        CREATE VIRTUAL TABLE found USING fts5(name, content='evolution_shelf', content_rowid='id');
        CREATE TRIGGER found_insert AFTER INSERT ON evolution_shelf BEGIN
            INSERT INTO found (rowid, name) VALUES (new.id, new.name);
        END;
        INSERT INTO found (found) VALUES ('rebuild');
        ANALYZE;
        """,
    )
    history.write(
        "0002_change", "migrations.AddField('item', 'added', models.TextField(default=''))"
    )
    assert assert_same(start, "evolution") == "SQL"


def test_trap__reader_beside_a_replay(history: History, start: Path) -> None:
    """In WAL mode, in which user databases are, it neither waits nor fails."""
    history.write("0002_change", REBUILD)
    script(start, "PRAGMA journal_mode = WAL")
    with closing(sqlite3.connect(start, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM evolution_shelf").fetchone() == (2,)
        replays(start, plans_to("evolution"))
        assert reader.execute("SELECT count(*) FROM evolution_shelf").fetchone() == (2,)
        reader.execute("COMMIT")
        assert "UNIQUE" in str(
            reader.execute(
                "SELECT sql FROM sqlite_master WHERE name = 'evolution_shelf'"
            ).fetchone()
        )


def test_trap__what_managers_remember_of_one_user_is_no_other_users(
    history: History, start: Path
) -> None:
    """Nor does it grow with the number of users."""
    code = """
    class Remembering(models.Manager):
        use_in_migrations = True
        def clear_cache(self):
            forgotten.append(self.model._meta.label)
    forgotten = []
    def work(apps, editor):
        pass
    """
    history.write(
        "0002_change",
        "migrations.AlterModelManagers('shelf', [('objects', Remembering())]),"
        "migrations.RunPython(work)",
        code=code,
    )
    found = plans_to("evolution")
    replays(copy(start, "a"), found)
    replays(copy(start, "b"), found)
    (part,) = [part for part in found._plans.popitem()[1].parts if part.migration]
    (call,) = part.steps[:1]
    assert call.operation.code.__globals__["forgotten"] == ["evolution.Shelf"] * 2


def test_transaction__inside_another_is_refused(history: History, start: Path) -> None:
    history.write("0002_change", ADD)
    with (
        opened(start) as connection,
        transaction.atomic(using=connection.alias),
        pytest.raises(TransactionManagementError) as caught,
    ):
        found = plans_to("evolution")
        replay.replay(plan_in(connection), connection, found.replayer)
    assert str(caught.value) == (
        "Migrations cannot be replayed inside a transaction, because SQLite cannot turn foreign keys"
        " off there. Migrate the database before the transaction."
    )


def test_transaction__foreign_keys_are_enforced_again(history: History, start: Path) -> None:
    history.write("0002_change", REBUILD)
    with opened(start) as connection:
        found = plans_to("evolution")
        replay.replay(plan_in(connection), connection, found.replayer)
        with connection.cursor() as cursor:
            assert cursor.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_stamp__comes_with_the_transaction(history: History, start: Path) -> None:
    history.write("0002_change", ADD)
    with opened(start) as connection:
        plan = plan_in(connection)
        replay.replay(plan, connection, SQLiteReplayer(), stamp="0000000bcdef")
    assert rows(start, "PRAGMA user_version") == [(11,)]
    history.write("0003_fails", "migrations.RunSQL('UPDATE evolution_shelf SET id = 1')")
    with opened(start) as connection:
        plan = plan_in(connection)
        with pytest.raises(IntegrityError):
            replay.replay(plan, connection, SQLiteReplayer(), stamp="0000000c")
    assert rows(start, "PRAGMA user_version") == [(11,)]


def test_migrate__nothing_to_do(history: History, start: Path) -> None:
    before = dump(start)
    plan = replays(start, plans_to("evolution"))
    assert plan is not None
    assert plan.parts == ()
    assert dump(start) == before


def test_migrate__database_without_a_ledger(history: History, tmp_path: Path) -> None:
    (empty := tmp_path / "empty.db").touch()
    assert assert_same(empty, "evolution") == "SQL"


def test_migrate__irreversible(history: History, tmp_path: Path) -> None:
    history.write("0002_change", "migrations.RunSQL('SELECT 1')")
    start = made(tmp_path / "forth.db", "0002")
    assert assert_same(start, "evolution", "0001") == "failed"


def test_migrate__what_was_squashed_and_removed_is_no_newer_code(
    history: History, start: Path
) -> None:
    script(
        start,
        """
        UPDATE django_migrations SET name = '0001_long_ago' WHERE app = 'evolution';
        INSERT INTO django_migrations (app, name, applied) VALUES ('evolution', '0001_setup', 'x'),
            ('gone', '0001_initial', 'x');
        """,
    )
    history.write("0002_change", ADD)
    assert assert_same(start, "evolution") == "SQL"


def test_migrate__newer_code_was_here(history: History, start: Path) -> None:
    script(
        start,
        "INSERT INTO django_migrations (app, name, applied) VALUES ('evolution', '0009_later', 'x')",
    )
    before = dump(start)
    with opened(start) as connection, pytest.raises(recording.AheadOfCode) as caught:
        plans_to("evolution").find(connection)
    assert caught.value.migrations == ["evolution.0009_later"]
    assert dump(start) == before
