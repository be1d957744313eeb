"""What it costs to look across all users: a count and a sum against a bare loop, and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.figures import RATIO, Figure, Report

ROOT = Path(__file__).parents[1]

MANY, SOME = 10_000, 2_000


def run(*, quick: bool = False) -> Report:
    """Make databases, ask them all turn by turn, and walk over ten times as many keys."""
    count = SOME if quick else MANY
    with tempfile.TemporaryDirectory() as directory:
        found = _measured(directory, count=count, rounds=3 if quick else 5)
    ratios = [ours / bare for ours, bare in zip(found["shared"], found["bare"], strict=True)]
    alone = [ours / bare for ours, bare in zip(found["alone"], found["bare"], strict=True)]
    shared = [ours / bare for ours, bare in zip(found["shared"], found["crew"], strict=True)]
    walked = found["walked"]
    return Report(
        f"Looking across {count} user databases of 25 tables",
        [
            Figure(
                "bare sqlite3: open, count and sum, close", _us(found["bare"], count), "µs each"
            ),
            Figure("fleet.aggregate against it", median(ratios), RATIO, at_most=1.5),
            Figure("    at worst", max(ratios), RATIO),
            Figure("    against bare loops in as many processes", median(shared), RATIO),
            Figure("    with workers=1, in processor time", median(found["cpu"]), RATIO, 1.5),
            Figure("    with workers=1", median(alone), RATIO),
            Figure(f"memory for {count} keys, of the largest process", walked[0], "MB", 300),
            Figure(f"    for {10 * count} keys", walked[1], "MB", 300),
            Figure("    more than that for the tenth", walked[1] - walked[0], "MB", 10),
        ],
    )


def _us(seconds: list[float], count: int) -> float:
    return median(seconds) / count * 1e6


def _measured(directory: str, *, count: int, rounds: int) -> dict[str, list[float]]:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.fleet_site.settings",
        "FLEET_DIRECTORY": directory,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
    }
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.fleet_work", str(count), str(rounds)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, list[float]] = json.loads(finished.stdout)
    return found
