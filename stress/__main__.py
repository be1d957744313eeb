"""The run from the outside: a scratch directory, worker processes two at a time, the verdict."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stress import table, verifier
from stress.tally import Report

ROOT = Path(__file__).parents[1]

#: Two processes run beside each other; each pair does so many operations before the next comes.
FACES = ("WSGI", "ASGI")
OPERATIONS_PER_PAIR = 250_000

#: Seconds after which a process that should have ended is stopped.
GRACE = 60.0


def main() -> int:
    """Run, print the table, and return 1 if anything leaked or failed that should not."""
    arguments = _parse()
    directory = Path(tempfile.mkdtemp(prefix="dsud-stress-"))
    started = time.monotonic()
    if not arguments.json:
        sys.stdout.write(f"seed {arguments.seed}\n")
        sys.stdout.flush()
    try:
        report = _run(arguments, directory)
        findings, disagreements = verifier.verify(directory)
    finally:
        shutil.rmtree(directory)
    report.leaks.update(findings.foreign)
    report.unexpected.update({f"row {where}": n for where, n in disagreements.items()})
    outcome = table.Outcome(
        arguments.seed, arguments.users, time.monotonic() - started, report, findings
    )
    if arguments.json:
        json.dump(outcome.as_json(), sys.stdout)
    else:
        table.show(outcome)
    return 0 if report.is_clean else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stress", description=__doc__)
    add = parser.add_argument
    add("--operations", type=int, default=1_000_000, help="of the ORM, half under each face")
    add("--users", type=int, default=2_000, help="who are there from the start")
    add("--seconds", type=float, default=1_500, help="after which no new operation begins")
    add("--max-open", type=int, default=64, help="connections that a process keeps open")
    add("--seed", default=secrets.token_hex(4), help="repeats the choices of an earlier run")
    add("--without-guard", choices=("router", "guards", "cursor", "context"), help="must leak")
    add("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def _run(arguments: argparse.Namespace, directory: Path) -> Report:
    report = _wait([_start(arguments, directory, "enrol")], seconds=arguments.seconds)
    pairs = max(1, arguments.operations // (2 * OPERATIONS_PER_PAIR))
    deadline = time.monotonic() + arguments.seconds
    for pair in range(pairs):
        seconds = max(0.0, deadline - time.monotonic())
        processes = [
            _start(
                arguments,
                directory,
                face,
                f"--process={2 * pair + number}",
                f"--seed={arguments.seed}/{pair}/{face}",
                f"--operations={arguments.operations // (2 * pairs)}",
                f"--seconds={seconds}",
                f"--actors={max(2, min(12, arguments.max_open // 2))}",
                *([f"--without-guard={arguments.without_guard}"] * bool(arguments.without_guard)),
            )
            for number, face in enumerate(FACES)
        ]
        report.add(_wait(processes, seconds=seconds))
    return report


def _start(
    arguments: argparse.Namespace, directory: Path, face: str, *more: str
) -> subprocess.Popen[str]:
    environment = os.environ | {
        "STRESS_DIRECTORY": str(directory),
        "STRESS_MAX_OPEN": str(arguments.max_open),
    }
    command = [sys.executable, "-m", "stress.worker", face, f"--users={arguments.users}", *more]
    return subprocess.Popen(  # noqa: S603, because it is this very package
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )


def _wait(processes: list[subprocess.Popen[str]], *, seconds: float) -> Report:
    """Collect what processes report; one that hangs or fails is an unexpected error."""
    report = Report()
    deadline = time.monotonic() + seconds + GRACE
    for process in processes:
        try:
            output, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            report.unexpected["process that hangs"] += 1
            continue
        if process.returncode:
            report.unexpected[f"process that ends with {process.returncode}"] += 1
        else:
            report.add(Report.from_json(json.loads(output)))
    return report


if __name__ == "__main__":
    sys.exit(main())
