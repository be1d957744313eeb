"""Databases that Django has migrated beside ones that were replayed, and everything in which they differ."""

import itertools
import shutil
import sqlite3
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from dsud import replay
from dsud.connections import temporary
from dsud.context import Block, TemporaryActivation
from dsud.engines import engine
from dsud.plans import Plan
from dsud.recording import RecordingFailed, Targets
from dsud.router import TEMPLATE_ALIAS

_numbers = itertools.count()

HEADER = """
import uuid
import django
from django.conf import settings
from django.db import migrations, models
from django.db.models import F, Q, Value
from django.db.models.functions import *

"""


@contextmanager
def opened(path: Path) -> Iterator[BaseDatabaseWrapper]:
    """Reach a file the way templates are reached: on the side of user models, nobody's."""
    alias = f"{TEMPLATE_ALIAS}_{path.stem}"
    settings = {"NAME": str(path), "OPTIONS": {"init_command": "PRAGMA synchronous = OFF"}}
    with temporary(alias, settings) as connection, Block(TemporaryActivation(alias)):
        yield connection


def django_migrates(path: Path, *target: str, **options: object) -> None:
    """Run Django's own command."""
    with opened(path) as connection:
        options = {"interactive": False, "verbosity": 0, **options}
        call_command("migrate", *target, database=connection.alias, **options)


def django_migrates_to(path: Path, keys: Sequence[tuple[str, str | None]]) -> None:
    """Run what Django's command runs, without its signals."""
    with opened(path) as connection:
        MigrationExecutor(connection).migrate(list(keys))


def to(*target: str) -> Targets:
    """Return the targets that arguments of ``migrate`` name."""
    label, *names = target

    def targets(executor: MigrationExecutor) -> Sequence[tuple[str, str | None]]:
        if not names:
            return [key for key in executor.loader.graph.leaf_nodes() if key[0] == label]
        if names == ["zero"]:
            return [(label, None)]
        return [(label, executor.loader.get_migration_by_prefix(label, names[0]).name)]

    return targets


def plans_to(*target: str) -> replay.Plans:
    """Return the plans to what arguments of ``migrate`` name."""
    replayer = engine().replayer()
    assert replayer is not None
    return replay.Plans(replayer, to(*target))


def replays(path: Path, plans: replay.Plans) -> Plan | None:
    """Migrate a file by replay."""
    with opened(path) as connection:
        executor = MigrationExecutor(connection)
        return replay.migrate(
            connection,
            plans.replayer,
            plans.find(connection),
            otherwise=lambda: executor.migrate(list(plans.targets(executor))),
        )


# Comparing


def dump(path: Path, *, masked: Sequence[str] = ()) -> dict[str, object]:
    """Return everything that a database is, but the columns ``masked`` ("table.column") and the time."""
    with closing(sqlite3.connect(path)) as raw:
        raw.text_factory = bytes
        objects = raw.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        tables = [name.decode() for kind, name, _, _ in objects if kind == b"table"]
        return {
            "objects": objects,
            **{f"{name}: columns": _pragma(raw, "table_xinfo", name) for name in tables},
            **{f"{name}: keys": _pragma(raw, "foreign_key_list", name) for name in tables},
            **{f"{name}: indexes": _indexes(raw, name) for name in tables},
            **{f"{name}: rows": _rows(raw, name, masked) for name in tables},
        }


def _pragma(raw: sqlite3.Connection, pragma: str, name: str) -> list[tuple[object, ...]]:
    return raw.execute(f'PRAGMA {pragma}("{name}")').fetchall()


def _indexes(raw: sqlite3.Connection, table: str) -> list[object]:
    found = _pragma(raw, "index_list", table)
    return [(index, _pragma(raw, "index_xinfo", index[1].decode())) for index in found]


def _rows(raw: sqlite3.Connection, table: str, masked: Sequence[str]) -> list[tuple[object, ...]]:
    masked = [*masked, "django_migrations.applied"]
    names = [row[1].decode() for row in _pragma(raw, "table_xinfo", table)]
    shown = [name for name in names if f"{table}.{name}" not in masked]
    columns = ", ".join(f'"{name}", typeof("{name}")' for name in shown)
    return raw.execute(f'SELECT {columns or "1"} FROM "{table}"').fetchall()


# Histories


@dataclass
class History:
    """The migrations of the app ``evolution``, written by a test."""

    directory: Path
    set_module: Callable[[str], None]
    package: str = field(default_factory=lambda: f"evolution_history_{next(_numbers)}")

    def __post_init__(self) -> None:
        self.path.mkdir()
        (self.path / "__init__.py").touch()
        self.set_module(self.package)

    @property
    def path(self) -> Path:
        """Return the directory of the migrations."""
        return self.directory / self.package

    def write(self, name: str, operations: str, *, extra: str = "", code: str = "") -> None:
        """Write a migration that follows the last one."""
        before = sorted(path.stem for path in self.path.glob("0*.py"))
        dependencies = f"[('evolution', '{before[-1]}')]" if before else "[]"
        (self.path / f"{name}.py").write_text(
            f"{HEADER}{textwrap.dedent(code)}\n\nclass Migration(migrations.Migration):\n"
            f"    dependencies = {dependencies}\n{textwrap.indent(textwrap.dedent(extra), '    ')}\n"
            f"    operations = [\n{textwrap.indent(textwrap.dedent(operations), ' ' * 8)}\n    ]\n"
        )
        sys.path_importer_cache.pop(str(self.path), None)


@dataclass(frozen=True)
class Ending:
    """How a migration ended: what the database is, and the error."""

    contents: dict[str, object]
    error: str


def ending(path: Path, migrate: Callable[[], object], *, masked: Sequence[str] = ()) -> Ending:
    """Migrate, and tell what came of it."""
    error = ""
    try:
        migrate()
    except CommandError:
        raise
    except RecordingFailed as failed:
        error = failed.reason
    except Exception as raised:  # noqa: BLE001, because errors are compared
        error = f"{type(raised).__name__}: {raised}"
    return Ending(dump(path, masked=masked), error)


def assert_same(
    start: Path, *target: str, plans: replay.Plans | None = None, masked: Sequence[str] = ()
) -> str:
    """Migrate one copy of a database by Django's command and one by replay; see below."""

    def by_django(path: Path) -> None:
        django_migrates(path, *target)

    return _assert_same(start, by_django, plans or plans_to(*target), masked=masked)


def assert_same_at(
    start: Path, keys: Sequence[tuple[str, str | None]], *, masked: Sequence[str] = ()
) -> str:
    """Migrate one copy of a database by Django's executor and one by replay; see below."""

    def by_django(path: Path) -> None:
        django_migrates_to(path, keys)

    replayer = engine().replayer()
    assert replayer is not None
    plans = replay.Plans(replayer, lambda executor: keys)
    return _assert_same(start, by_django, plans, masked=masked)


def _assert_same(
    start: Path,
    by_django: Callable[[Path], None],
    plans: replay.Plans,
    *,
    masked: Sequence[str] = (),
) -> str:
    """Both copies must be the same in the end.

    Return how that was: the plan's kind, "Django" without a plan, or "failed" when both fail. Then
    the replayed one must be as it was before.
    """
    first, second = (start.with_name(f"{start.stem}_{kind}.db") for kind in ("dj", "re"))
    for path in (first, second):
        shutil.copyfile(start, path)
    before = dump(start)
    found: list[Plan | None] = []
    theirs = ending(first, lambda: by_django(first), masked=masked)
    ours = ending(second, lambda: found.append(replays(second, plans)), masked=masked)
    if "invalid foreign key" in theirs.error:
        assert (
            ours.error
        )  # Django checks keys also after something else has failed, and says only that.
    else:
        assert ours.error == theirs.error, (ours.error, theirs.error)
    if ours.error:
        assert dump(second) == before
        return "failed"
    for name, contents in theirs.contents.items():
        assert ours.contents[name] == contents, name
    assert list(ours.contents) == list(theirs.contents)
    return "Django" if found[0] is None else found[0].kind
