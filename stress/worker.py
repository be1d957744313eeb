"""One process of a run: told what to do on its command line, it prints its figures as JSON."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import warnings
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import django

from stress import sabotage
from stress.tally import Report, Tally

if TYPE_CHECKING:
    from stress.stage import Stage

#: Which part of a process's operations a forked child does first.
FORKED = 0.05


def main() -> None:
    """Set Django up, do what was asked, report."""
    arguments = _parse()
    os.environ["DJANGO_SETTINGS_MODULE"] = "stress.settings"
    if arguments.without_guard:
        sabotage.disable(arguments.without_guard)
    django.setup()
    report = _enrol(arguments) if arguments.face == "enrol" else _play(arguments)
    json.dump(report.as_json(), sys.stdout)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stress.worker")
    parser.add_argument("face", choices=["enrol", "WSGI", "ASGI"])
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--operations", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--actors", type=int, default=4)
    parser.add_argument("--without-guard", choices=sabotage.PROTECTIONS)
    return parser.parse_args()


def _enrol(arguments: argparse.Namespace) -> Report:
    """Make the site and its users."""
    from django.core.management import call_command

    from stress import lives
    from stress.stage import Cast, Person

    call_command("migrate", verbosity=0)
    for pk in range(1, arguments.users + 1):
        lives.sign_up(Person(pk))
    lives.sign_up(Cast(users=arguments.users, process=0).operator, operator=True)
    return Report()


def _play(arguments: argparse.Namespace) -> Report:
    """Fork a child that begins, then go on in threads or tasks."""
    from dsud.pool import pool
    from stress import browser, tasks, threads
    from stress.stage import Cast, Stage, running

    # A blocking body under ASGI is part of the play.
    warnings.simplefilter("ignore")
    browser.count_exceptions()
    tally = Tally(arguments.face, operations=arguments.operations, seconds=arguments.seconds)
    cast = Cast(users=arguments.users, process=arguments.process)
    stage = running.stage = Stage(cast, tally)
    sys.unraisablehook = lambda raised: tally.happened(f"{raised.exc_type.__name__} in a finalizer")
    if not arguments.without_guard:
        _begin_in_child(arguments, stage)
    if arguments.face == "WSGI":
        threads.run(stage, seed=arguments.seed, threads=arguments.actors)
    else:
        tasks.run(stage, seed=arguments.seed, tasks=arguments.actors)
    tally.happened("evictions", pool.evictions)
    return tally.report


def _begin_in_child(arguments: argparse.Namespace, stage: Stage) -> None:
    """Have a child that inherits open connections do the first part, and wait for it."""
    from django.db import connections

    from stress import threads
    from stress.stage import Stage

    part = int(arguments.operations * FORKED)
    first = Tally(arguments.face, operations=part // 10, seconds=arguments.seconds)
    threads.run(Stage(stage.cast, first), seed=f"{arguments.seed}/first", threads=2)
    stage.tally.report.add(first.report)
    connections.close_all()
    receiving, sending = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(
        target=_in_child, args=[arguments, part, sending]
    )
    child.start()
    sending.close()  # Because a child that dies must be noticed.
    stage.tally.report.add(Report.from_json(receiving.recv()))
    child.join()


def _in_child(arguments: argparse.Namespace, part: int, sending: Connection) -> None:
    from dsud.pool import pool
    from stress import threads
    from stress.stage import Cast, Stage, running

    tally = Tally(arguments.face, operations=part, seconds=arguments.seconds)
    cast = Cast(users=arguments.users, process=arguments.process + 100)
    stage = running.stage = Stage(cast, tally)
    evictions = pool.evictions
    threads.run(stage, seed=f"{arguments.seed}/child", threads=arguments.actors)
    tally.happened("evictions", pool.evictions - evictions)
    sending.send(tally.report.as_json())


if __name__ == "__main__":
    main()
