"""What a deploy costs a fleet: replay beside a bare loop over the files, and beside Django's command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import deployed_app
from benchmarks.figures import RATIO, Figure, Report

ROOT = Path(__file__).parents[1]


def run(*, quick: bool = False) -> Report:
    """Measure a deploy of three migrations on a fleet, with and without code in them."""
    number, by_django, turn = (1_370, 20, 150) if quick else (10_000, 100, 550)
    size = 20_000 if quick else 100_000
    plain = _measured(number, by_django, turn, code=False, crowd=size)
    coded = _measured(number // 2, by_django, turn // 2, code=True)
    wall, used = _medians(plain, 0), _medians(plain, 1)
    figures = [
        Figure(
            "nothing to do, by the ledger, 100,000 databases", plain["ledger"], "s", at_most=0.1
        ),
        Figure(
            "nothing to do, verified, 10,000 databases", plain["verify"] * 10_000, "s", at_most=5
        ),
        Figure("a bare sqlite3 loop, one database", wall["bare"] * 1000, "ms"),
        Figure("replay, one database", wall["replay"] * 1000, "ms"),
        Figure("replay against the bare loop", _ratio(plain, 0), RATIO, at_most=1.3),
        Figure("replay against a loop that checks no keys", _ratio(plain, 0, "unchecked"), RATIO),
        Figure("replay against the bare loop, processor", used["replay"] / used["bare"], RATIO),
        Figure(
            "processor of replay against `migrate` for each",
            used["replay"] / used["django"],
            RATIO,
            at_most=0.1,
        ),
        Figure(
            "replay with a RunPython against replay without",
            _against_bare(coded) / _against_bare(plain),
            RATIO,
            at_most=1.5,
        ),
        *_pages(plain, number),
        *_memory(plain, size),
    ]
    return Report(f"A deploy of {plain['statements']} statements to a fleet of {number:,}", figures)


def _pages(found: dict[str, Any], number: int) -> list[Figure]:
    """Return what operators wait for, once the process has started."""
    pages = {
        "page": "the first hundred",
        "sorted": "filtered and sorted",
        "outdated": "those that are outdated",
        "json": "the first hundred by size, as JSON",
    }
    return [
        Figure(f"`migrate_user_dbs --{name}`, {number:,} databases", seconds, "s", at_most=1)
        for name, seconds in found["foreseen"].items()
    ] + [
        Figure(f"`show_user_dbs`, 100,000 databases: {pages[name]}", seconds, "s", at_most=0.5)
        for name, seconds in found["shown"].items()
    ]


def _memory(found: dict[str, Any], size: int) -> list[Figure]:
    few, many = found["few"], found["many"]
    names = {"parent": "the process that hands out the work", "worker": "a worker"}
    return [
        Figure(f"memory of {name}, {size:,} databases", many[who], "MB", at_most=300)
        for who, name in names.items()
    ] + [
        Figure(
            f"memory of {name} against a tenth of them", many[who] / few[who], RATIO, at_most=1.25
        )
        for who, name in names.items()
    ]


def _measured(
    number: int, by_django: int, turn: int, *, code: bool, crowd: int = 0
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as path:
        directory = Path(path)
        deployed_app.write(directory)
        _script(directory, "prepare", number)
        deployed_app.deploy(directory, code=code)
        found: dict[str, Any] = json.loads(_script(directory, "measure", number, by_django, turn))
        for name, size in {"few": crowd // 10, "many": crowd}.items() if crowd else ():
            found[name] = json.loads(_script(directory, "crowd", number, size))
        return found


def _script(directory: Path, *arguments: object) -> str:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "benchmarks.fleet_settings",
        "DSUD_BENCH_DIR": str(directory),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    }
    command = [sys.executable, "-m", "benchmarks.fleet_rounds", *map(str, arguments)]
    return subprocess.run(
        command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _medians(found: dict[str, Any], place: int) -> dict[str, float]:
    return {name: median(turn[place] for turn in turns) for name, turns in found["taken"].items()}


def _ratio(found: dict[str, Any], place: int, floor: str = "bare") -> float:
    """Return the median over the turns that followed each other."""
    pairs = zip(found["taken"]["replay"], found["taken"][floor], strict=True)
    return float(median(replay[place] / bare[place] for replay, bare in pairs))


def _against_bare(found: dict[str, Any]) -> float:
    """Return the ratio of processor time: two runs can be compared by what is bare in both."""
    return _ratio(found, 1)
