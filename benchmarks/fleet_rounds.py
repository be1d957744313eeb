"""A script: a fleet is made, a deploy comes, and each way to bring it about takes turns."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import resource
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

import django

from benchmarks import deployed_app

#: Who works, on both sides.
WORKERS = 2

#: The check with which Django ends each migration; the plan has it where it can find anything.
CHECK = "PRAGMA foreign_key_check"

#: A statement with what is bound to it.
Bound: TypeAlias = tuple[str, tuple[object, ...]]

#: How many rows the registry has when it is asked who is outdated.
REGISTERED = 100_000

#: What operators ask of a registry of that size: the first page, one that is looked for, and numbers.
PAGES: dict[str, list[str]] = {
    "page": [],
    "sorted": ["--larger-than", "5MB", "--unused-since", "90d", "--sort", "last-used", "--reverse"],
    "outdated": ["--outdated"],
    "json": ["--json", "--sort", "size", "--limit", "100"],
}


def prepare(number: int) -> None:
    """Make the databases, with rows, before the deploy."""
    from django.contrib.auth.models import User
    from django.core.management import call_command

    from dsud import mirrors, provisioning, schema
    from dsud.engines import engine
    from dsud.models import UserDatabase

    call_command("migrate", verbosity=0)
    User.objects.bulk_create(User(pk=key, username=f"user{key}") for key in range(1, number + 1))
    fingerprint = provisioning.prepare()
    engine().initialize()
    rows = [
        f"INSERT INTO shelves_shelf{table} (name, note) VALUES (?, ?)"  # noqa: S608
        for table in range(1, deployed_app.TABLES + 1)
    ]
    for key in map(str, range(1, number + 1)):
        with engine().lock(key):
            engine().stage(key, fingerprint, rows=mirrors.first_rows(key)).publish()
        with closing(sqlite3.connect(engine().path_of(key), isolation_level=None)) as raw:
            raw.execute("PRAGMA synchronous = OFF")
            raw.execute("BEGIN")
            for sql in rows:
                raw.executemany(sql, [(f"name {i}", "x" * 60) for i in range(deployed_app.ROWS)])
            raw.execute("COMMIT")
    UserDatabase.objects.bulk_create(
        UserDatabase(user_key=str(key), state="ready", schema=schema.fingerprint())
        for key in range(1, number + 1)
    )


def measure(number: int, by_django: int, turn_of: int) -> dict[str, object]:
    """Let each way take its turns, and return what they took for one database."""
    from dsud.migrating import Migrator

    foreseen = {name: command("migrate_user_dbs", f"--{name}") for name in ("plan", "check")}
    migrator = Migrator(run="benchmark", snapshots="never")
    plan = plan_of(migrator, "1")
    keys = [str(key) for key in range(1, number + 1)]
    slow, keys = keys[:by_django], keys[by_django:]
    ways: dict[str, Callable[[Sequence[str]], None]] = {
        "replay": lambda turn: roll_out(turn, migrator),
        "bare": lambda turn: bare(turn, statements(plan)),
        "unchecked": lambda turn: bare(turn, unchecked(plan)),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    names = list(ways)
    turns = len(ways) * turn_of
    for start in range(0, len(keys) - turns + 1, turns):
        for place, name in enumerate(names):
            turn = keys[start + place * turn_of : start + (place + 1) * turn_of]
            taken[name].append(timed(ways[name], turn))
        names.append(names.pop(0))
    taken["django"] = [timed(migrate_each, slow)]
    verified = timed(verify, [*slow, *keys])[0]
    register_many()
    ledger = ask_ledger()
    return {
        "taken": taken,
        "statements": len(unchecked(plan)),
        "verify": verified,
        "foreseen": foreseen,
        "ledger": ledger,
        "shown": show(),
    }


def crowd(number: int, size: int) -> dict[str, float]:
    """Roll out to many databases, and return what memory that took at its peak, in MB.

    Where there are not so many files, each is met several times: it is opened and looked into anew,
    and its outcome is another one for the process that hands out the work.
    """
    from dsud.migrating import Migrator

    roll_out([str(1 + place % number) for place in range(size)], Migrator(run="crowd"))
    whom = {"parent": resource.RUSAGE_SELF, "worker": resource.RUSAGE_CHILDREN}
    return {name: resource.getrusage(who).ru_maxrss / 1024 for name, who in whom.items()}


def register_many() -> None:
    """Have the registry say of all, and of many more that have no file, that they are current."""
    from django.utils import timezone

    from dsud import schema
    from dsud.models import UserDatabase

    current, now = schema.fingerprint(), timezone.now()
    UserDatabase.objects.update(schema=current)
    UserDatabase.objects.bulk_create(
        UserDatabase(
            user_key=f"more{key}",
            state="ready",
            schema=current,
            size=key * 1_009 % 10_000_000,
            last_used=now - timedelta(minutes=key * 17 % 500_000),
        )
        for key in range(REGISTERED)
    )


def ask_ledger() -> float:
    """Return the seconds it takes to see that nothing is to be done for many databases."""
    from dsud import models as registry
    from dsud import rollout, schema

    current = schema.fingerprint()
    start = time.perf_counter()
    if rollout.outdated() or registry.count_current(current) < REGISTERED:
        raise RuntimeError
    return time.perf_counter() - start


def show() -> dict[str, float]:
    """Return the seconds that each page takes, when one database in a thousand could not be migrated."""
    from dsud.models import UserDatabase

    failed = UserDatabase.objects.filter(user_key__startswith="more", user_key__endswith="000")
    failed.update(schema="older", last_error="OperationalError: disk I/O error")
    return {name: command("show_user_dbs", *given) for name, given in PAGES.items()}


def command(name: str, *arguments: str) -> float:
    """Return the seconds that a command takes in a process that has started, to the end of its output."""
    from django.core.management import CommandError, call_command

    start = time.perf_counter()
    with suppress(CommandError):  # With which ``--check`` says that there is something to do.
        call_command(name, *arguments, stdout=io.StringIO(), stderr=io.StringIO())
    return time.perf_counter() - start


def timed(work: Callable[[Sequence[str]], None], keys: Sequence[str]) -> tuple[float, float]:
    """Return wall and processor seconds for one database."""
    start, used = time.perf_counter(), _used()
    work(keys)
    return (time.perf_counter() - start) / len(keys), (_used() - used) / len(keys)


def _used() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


# The ways


def plan_of(migrator: object, key: str) -> object:
    """Record the plan, in this process."""
    from dsud import use_user

    with use_user(key):
        return migrator.plan_for(key)


def roll_out(keys: Sequence[str], migrator: object) -> None:
    """Do what the command does."""
    from dsud import rollout

    for outcome in rollout.roll_out(keys, migrator, rollout.Limits(), workers=WORKERS):  # type: ignore[arg-type]
        if outcome.error is not None:
            raise outcome.error


def verify(keys: Sequence[str]) -> None:
    """Look into every file."""
    from dsud import rollout

    list(rollout.verified(keys))


def migrate_each(keys: Sequence[str]) -> None:
    """Call Django's command for each, as itself and in this process."""
    from django.core.management import call_command

    from dsud import use_user
    from dsud.connections import alias_of
    from dsud.opening import as_they_are

    for key in keys:
        with use_user(key), as_they_are():
            call_command("migrate", database=alias_of(key), interactive=False, verbosity=0)


def unchecked(plan: object) -> list[Bound]:
    """Return the statements less the checks, which nobody may leave out who builds tables anew."""
    return [each for each in statements(plan) if each[0] != CHECK]


def statements(plan: object) -> list[Bound]:
    """Return the statements of the plan, the ledger's with one time for all."""
    from dsud.plans import Check, FreshStatement, Statement

    found: list[Bound] = []
    for part in plan.parts:
        for step in [*part.steps, *part.ledger]:
            if isinstance(step, Check):
                found.append((CHECK, ()))
            elif isinstance(step, Statement):
                found.append((step.sql, tuple(step.params)))
            elif isinstance(step, FreshStatement) and step.params is not None:
                found.append((step.sql, (*step.params[:2], "2026-01-01 00:00:00")))
    return found


def bare(keys: Sequence[str], todo: Sequence[Bound]) -> None:
    """Run the same statements in a loop over the files, by as many processes."""
    from dsud.engines import engine

    paths = [str(engine().path_of(key)) for key in keys]
    context = multiprocessing.get_context("fork")
    members = [
        context.Process(target=bare_loop, args=(paths[place::WORKERS], todo))
        for place in range(WORKERS)
    ]
    for member in members:
        member.start()
    for member in members:
        member.join()
        if member.exitcode:
            raise RuntimeError(member.exitcode)


def bare_loop(paths: Sequence[str], todo: Sequence[Bound]) -> None:
    """Run statements on files, with what the engine sets on its connections and nothing else."""
    for path in paths:
        with closing(sqlite3.connect(path, isolation_level=None)) as raw:
            if hasattr(raw, "setconfig"):
                raw.setconfig(1006, True)  # SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE
            raw.execute("PRAGMA synchronous = FULL")
            raw.execute("PRAGMA wal_autocheckpoint = 64")
            raw.execute("PRAGMA cache_size = -512")
            raw.execute("PRAGMA secure_delete = ON")
            raw.execute("BEGIN IMMEDIATE")
            for sql, params in todo:
                raw.execute(sql, params)
            raw.execute("COMMIT")


def main() -> None:
    """Do one step, and print what it found."""
    step, *numbers = sys.argv[1:]
    django.setup()
    if step == "prepare":
        prepare(int(numbers[0]))
    else:
        works: dict[str, Callable[..., object]] = {"measure": measure, "crowd": crowd}
        work = works[step]
        sys.stdout.write(json.dumps(work(*map(int, numbers))))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
