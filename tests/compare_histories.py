"""A script: every step of some apps' histories, and some jumps, by Django and by replay, with rows."""

import os
import random
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import django
from django.db.migrations.executor import MigrationExecutor

#: What code of migrations writes differently each time: salted hashes, and the time.
VOLATILE = (
    "oauth2_provider_application.client_secret",
    "mfa_authenticator.created_at",
    "mfa_authenticator.last_used_at",
)

#: Keys that point nowhere; given to one table of each database that is to fail.
NOWHERE = 987654


def main(directory: Path, labels: list[str], *, jumps: int, violating: bool) -> None:
    """Compare, and print how many pairs were how."""
    from tests.histories import django_migrates_to

    states, keys = [directory / "state.db"], plan_of(directory / "state.db", labels)
    counts: dict[str, int] = {}
    for number, key in enumerate(keys):
        start = states[-1]
        if key[0] in labels:
            fill(start)
            count(counts, "forwards", compare(start, [key]))
            if violating and violate(broken := copy(start, "broken")):
                count(counts, "violating", compare(broken, [key]))
        states.append(copy(start, f"state{number}"))
        django_migrates_to(states[-1], [key])
    for number in range(len(keys) - 1, -1, -1):
        label, name = keys[number]
        if label in labels:
            earlier = [other for app, other in keys[:number] if app == label]
            fill(states[number + 1])
            target = (label, earlier[-1] if earlier else None)
            count(counts, "backwards", compare(states[number + 1], [target]))
    chance = random.Random(len(keys))
    for _ in range(jumps):
        low, high = sorted(chance.sample(range(len(keys) + 1), 2))
        count(counts, "jumps", compare(states[low], keys[low:high]))
    for name, number in sorted(counts.items()):
        sys.stdout.write(f"{name}: {number}\n")


def plan_of(empty: Path, labels: list[str]) -> list[tuple[str, str]]:
    """Make an empty database, and return what all migrations of some apps are, in order."""
    from tests.histories import opened

    empty.touch()
    with opened(empty) as connection:
        executor = MigrationExecutor(connection)
        leaves = [key for key in executor.loader.graph.leaf_nodes() if key[0] in labels]
        return [(each.app_label, each.name) for each, _ in executor.migration_plan(leaves)]


def compare(start: Path, targets: Sequence[tuple[str, str | None]]) -> str:
    """Compare one step, and tell how it went."""
    from tests.histories import assert_same_at

    try:
        return assert_same_at(start, targets, masked=VOLATILE)
    except AssertionError as error:
        error.add_note(f"on the way to {targets}")
        raise


def count(counts: dict[str, int], direction: str, how: str) -> None:
    """Count a comparison."""
    name = f"{direction}, {how}"
    counts[name] = counts.get(name, 0) + 1


def copy(path: Path, name: str) -> Path:
    """Copy a database beside itself."""
    return Path(shutil.copyfile(path, path.with_name(f"{name}.db")))


# Rows


def fill(path: Path) -> None:
    """Give each empty table a few rows that keep all constraints, where that can be guessed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA synchronous = OFF")
        raw.execute("PRAGMA foreign_keys = ON")
        for _round in range(3):  # Because tables refer to others that come after them.
            for table in tables(raw):
                if not raw.execute(f'SELECT 1 FROM "{table}"').fetchone():
                    for number in range(1, 4):
                        with suppress(sqlite3.IntegrityError):
                            insert(raw, table, number)


def violate(path: Path) -> bool:
    """Add a row whose key points nowhere, to the first table that has keys."""
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for table in tables(raw):
            if raw.execute(f'PRAGMA foreign_key_list("{table}")').fetchone():
                with suppress(sqlite3.IntegrityError):
                    insert(raw, table, 50, key=NOWHERE)
                    return True
    return False


def tables(raw: sqlite3.Connection) -> list[str]:
    """Return the tables of apps."""
    found = raw.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        " AND name NOT LIKE 'sqlite%' AND name != 'django_migrations'"
    )
    return [name for (name,) in found.fetchall()]


def insert(raw: sqlite3.Connection, table: str, number: int, *, key: int | None = None) -> None:
    """Insert a row with guessed values."""
    keys = {row[3]: (row[2], row[4]) for row in raw.execute(f'PRAGMA foreign_key_list("{table}")')}
    columns = raw.execute(f'PRAGMA table_xinfo("{table}")').fetchall()
    values = {
        name: value_of(raw, kind, number, keys.get(name), key)
        for _, name, kind, _, _, _, hidden in columns
        if not hidden
    }
    names = ", ".join(f'"{name}"' for name in values)
    marks = ", ".join("?" for _ in values)
    raw.execute(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', list(values.values()))


def value_of(
    raw: sqlite3.Connection,
    kind: str,
    number: int,
    target: tuple[str, str | None] | None,
    key: int | None,
) -> object:
    """Return a value for a column."""
    if target is not None:
        if key is not None:
            return key
        table, column = target
        found = raw.execute(f'SELECT "{column or "id"}" FROM "{table}" LIMIT 1 OFFSET {number - 1}')
        return (found.fetchone() or (None,))[0]
    if "char" in kind or kind == "text":
        return f"{number}%s'é"[: 4 if "(" in kind else 20]
    if kind == "datetime":
        return "2020-01-01 00:00:00"
    return number % 2 if kind == "bool" else number


if __name__ == "__main__":
    django.setup()
    main(
        Path(os.environ["DSUD_TEST_DIR"]),
        sys.argv[1].split(","),
        jumps=int(sys.argv[2]),
        violating=sys.argv[3] == "violating",
    )
