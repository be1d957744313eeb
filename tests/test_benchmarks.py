"""The frame of the benchmarks judges, keeps and shows what was measured, and says who did not take part."""

import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import environments, field, machine, postgresql, tables, usual
from benchmarks.__main__ import RESULTS
from benchmarks.catalogue import BENCHMARKS, QUICK
from benchmarks.contenders import Contender, Failed
from benchmarks.figures import Figure, Panel, Report, amount
from tests.servers import ROOT

# .ci/run has benchmarks on one pair, too.
pytestmark = pytest.mark.once

REPORT = Report(
    "A walk, against a ride",
    [
        Figure("a walk against a ride", 3.0, "times", at_most=4.0),
        Figure("steps", 1204, "steps", at_least=2000, exact=True),
        Figure("a step", 0.5, "s", floor=0.25),
    ],
    panels=[Panel("Time", "s", {"dsud": 2.0, "one SQLite database": 4.0, "bare sqlite3": 1.0})],
    sizes={"walkers": 3},
    absent={"the train": "it is late."},
    remarks={"one SQLite database": "it rained."},
)


# Figures


@pytest.mark.parametrize(
    ("value", "missed"), [(0.9, True), (1.0, False), (1.5, False), (2.0, False), (2.1, True)]
)
def test_figure__misses_what_is_outside_its_limits(value: float, missed: bool) -> None:
    assert Figure("x", value, "times", at_least=1.0, at_most=2.0).missed is missed


def test_figure__without_target_misses_nothing() -> None:
    figure = Figure("x", 10**9, "s")
    assert (figure.missed, figure.target) == (False, "")


def test_figure__says_its_target() -> None:
    assert Figure("x", 1, "ms", at_least=0.5, at_most=2).target == "≤ 2 ms ≥ 0.5 ms"


def test_report__as_json_has_verdicts_and_who_is_absent() -> None:
    found = json.loads(json.dumps(REPORT.as_json()))
    assert [each["missed"] for each in found["figures"]] == [False, True, False]
    assert [each["target"] for each in found["figures"]] == ["≤ 4 times", "≥ 2,000 steps", ""]
    assert found["panels"][0]["bars"] == {
        "dsud": 2.0,
        "one SQLite database": 4.0,
        "bare sqlite3": 1.0,
    }
    assert (found["sizes"], found["absent"]) == ({"walkers": 3}, {"the train": "it is late."})


def test_report__shows_verdicts_sizes_and_who_is_absent() -> None:
    output = io.StringIO()
    REPORT.show(Console(file=output, width=120))
    lines = output.getvalue().splitlines()
    assert any("a walk against a ride" in line and "pass" in line for line in lines)
    assert any("steps" in line and "missed" in line for line in lines)
    assert any("one SQLite database" in line and "4 │" in line for line in lines)
    assert lines[-3:] == [
        "walkers: 3",
        "one SQLite database: it rained.",
        "Without the train: it is late.",
    ]


def test_chart__names_every_contender(tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("CHARTS ARE NOT TESTED: install requirements/bench.txt, as `make bench` does")
    from benchmarks import charts

    charts.draw(REPORT, tmp_path / "walk.svg", footer="on foot")
    drawn = (tmp_path / "walk.svg").read_text()
    for text in ("dsud", "one SQLite database", "bare sqlite3", "4 s", "Time", "on foot"):
        assert f">{text}<" in drawn
    nothing = Report("Nothing", [], panels=[Panel("Errors", "", {"dsud": 0})])
    charts.draw(nothing, tmp_path / "nothing.svg", footer="on foot")
    assert not (tmp_path / "nothing.svg").exists()
    charts.draw(REPORT, tmp_path / "again.svg", footer="on foot")
    assert (tmp_path / "again.svg").read_text() == drawn


# Quick runs


attempts = partial(usual.attempts, say=lambda text: None)


def walk(ratio: float, *, floor: float | None = None) -> Report:
    if floor is None:
        return Report("A walk", [Figure("a walk", ratio, "times", at_most=4.0)])
    return Report("A walk", [Figure("a walk", ratio * floor, "ms", floor=floor, at_most=4.0)])


USUAL = {"walk": {"a walk": 1.2}}


@pytest.mark.parametrize("floor", [None, 0.01, 7.0])
def test_quick__twice_what_is_usual_misses__though_the_target_is_far(floor: float | None) -> None:
    runs = 0
    said: list[str] = []

    def run() -> Report:
        nonlocal runs
        runs += 1
        return walk(2.4, floor=floor)

    report = usual.attempts("walk", run, USUAL, say=said.append)
    assert [each.what for each in report.missed] == ["a walk"]
    assert runs == usual.ATTEMPTS
    again = f"walk is measured again, because of a walk: {amount(report.figures[0].value)}"
    assert said == [again] * (usual.ATTEMPTS - 1)


@pytest.mark.parametrize("floor", [None, 0.01, 7.0])
def test_quick__a_busy_machine_is_measured_again(floor: float | None) -> None:
    ratios = iter([5.0, 1.9, 1.7])
    assert attempts("walk", lambda: walk(next(ratios), floor=floor), USUAL).missed == []


def test_quick__half_the_usual_throughput_misses() -> None:
    report = Report("A ride", [Figure("rides", 1.5, "times", at_least=1.2)])
    assert attempts("ride", lambda: report, {"ride": {"rides": 3.0}}).missed
    assert not attempts("ride", lambda: report, {"ride": {"rides": 2.0}}).missed


def test_quick__what_is_counted_is_exact() -> None:
    report = Report("Steps", [Figure("steps", 101, "steps", at_most=100, exact=True)])
    assert attempts("steps", lambda: report, {}).missed


def test_quick__what_depends_on_the_machine_is_not_judged() -> None:
    report = Report("A walk", [Figure("a walk", 100.0, "ms", at_most=1.0)])
    assert attempts("walk", lambda: report, {}).figures[0].target == ""


def test_quick__what_nobody_has_recorded_has_some_room_beyond_its_target() -> None:
    assert not attempts("walk", lambda: walk(5.9), {}).missed
    assert attempts("walk", lambda: walk(6.1), {}).missed


def test_record__keeps_the_medians_of_ratios_beside_those_of_others(tmp_path: Path) -> None:
    path = tmp_path / "usual.json"
    usual.record("ride", [walk(3.0, floor=0.5)], path)
    usual.record("walk", [walk(1.3), walk(9.0), walk(1.24)], path)
    assert usual.read(path) == {"ride": {"a walk": 3.0}, "walk": {"a walk": 1.3}}
    usual.record("steps", [REPORT], path)
    assert usual.read(path)["steps"] == {"a walk against a ride": 3.0}


def test_quick__has_recorded_what_is_usual() -> None:
    assert set(QUICK) <= set(usual.read()) <= set(BENCHMARKS)


# Contenders


@pytest.fixture
def contender(tmp_path: Path) -> Iterator[Contender]:
    with Contender(
        "dsud",
        work="tests.measured_work",
        directory=tmp_path / "site",
        environment={"BENCH_MAX_OPEN": "7"},
    ) as contender:
        yield contender


def test_contender__answers_turn_by_turn(contender: Contender) -> None:
    assert [contender.ask("twice", number=number) for number in (1, 2, 3)] == [2, 4, 6]


def test_contender__has_a_directory_and_variables_of_its_own(
    contender: Contender, tmp_path: Path
) -> None:
    found = contender.ask("surroundings")
    assert found == {"BENCH_DIRECTORY": str(tmp_path / "site"), "BENCH_MAX_OPEN": "7"}
    assert (tmp_path / "site").is_dir()


def test_contender__that_raises_says_what_and_goes_on(contender: Contender) -> None:
    with pytest.raises(Failed) as raised:
        contender.ask("fail")
    assert str(raised.value).startswith("dsud in fail:\nTraceback (most recent call last):\n")
    assert str(raised.value).endswith("LookupError: nothing here\n")
    assert contender.ask("twice", number=4) == 8


def test_contender__that_dies_says_how(contender: Contender) -> None:
    with pytest.raises(Failed) as raised:
        contender.ask("die")
    assert str(raised.value) == "dsud ended with 3 in die"


# Who takes part


def test_environment__that_cannot_be_installed_is_left_out_with_what_pip_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "peer.txt").write_text("this is no requirement\n")
    monkeypatch.setattr(environments, "PINS", tmp_path)
    monkeypatch.setattr(environments, "KEPT", tmp_path / "kept")
    with pytest.raises(environments.CannotBeInstalled, match="Invalid requirement"):
        environments.python_of("peer")
    entrant = field.Entrant("a peer", "", peer="peer")
    with field.gather([field.SQLITE, entrant]) as (sites, absent):
        assert [site.name for site in sites] == ["one SQLite database"]
        assert "Invalid requirement" in absent["a peer"]


def test_environment__is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "peer.txt").write_text("")
    monkeypatch.setattr(environments, "PINS", tmp_path)
    monkeypatch.setattr(environments, "KEPT", tmp_path / "kept")
    asked: list[tuple[str, ...]] = []

    def run(*command: str) -> None:
        asked.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True)

    monkeypatch.setattr(environments, "_run", run)
    python = environments.python_of("peer")
    assert environments.python_of("peer") == python
    assert [command[2] for command in asked] == ["venv", "pip", "pip"]


def test_server__that_cannot_start_leaves_out_who_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "program", lambda name: None)
    with field.gather([field.OURS, field.POSTGRESQL]) as (sites, absent):
        assert [site.name for site in sites] == ["dsud"]
    assert absent == {
        "one PostgreSQL database": "install its server (initdb and postgres).",
        **field.ELSEWHERE,
    }


def test_quick__installs_nobody_and_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError

    monkeypatch.setattr(environments, "python_of", refuse)
    monkeypatch.setattr(postgresql, "server", refuse)
    with field.gather(quick=True) as (sites, absent):
        assert [site.name for site in sites] == ["dsud", "one SQLite database"]
        assert absent == {}


def test_sites__show_each_user_their_own_notes() -> None:
    with field.gather(quick=True) as (sites, _):
        found = {}
        for site in sites:
            with site.starts("benchmarks.same_answers") as contender:
                found[site.name] = contender.ask("first", users=3, notes=2)
    same = {"statuses": [[201, 200]] * 3, "counts": [3, 3, 3]}
    assert found == {
        "dsud": {**same, "created": [3, 3, 3]},
        "one SQLite database": {**same, "created": [7, 8, 9]},
    }


@pytest.mark.parametrize(
    "pins", sorted(environments.PINS.glob("*.txt")), ids=lambda path: path.stem
)
def test_pins__of_peers_share_versions_with_ours(pins: Path) -> None:
    ours = dict(
        line.split("==")
        for name in ("constraints.txt", "test.txt", "django61.txt")
        for line in (ROOT / "requirements" / name).read_text().splitlines()
        if "==" in line
    )
    theirs = dict(line.split("==") for line in pins.read_text().splitlines() if "==" in line)
    assert {"Django", "gunicorn", "uvicorn", pins.stem} <= set(theirs)
    shared = theirs.keys() & ours.keys()
    assert {name: theirs[name] for name in shared} == {name: ours[name] for name in shared}


def test_machine__says_the_versions_of_the_peers() -> None:
    found = machine.describe()
    assert found["peers"] == (
        "dj-lite-tenant 0.2.0, django-sqlite-user-db 0.1.2, django-tenants 4.0.1"
    )
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


# Pages

KEPT = {
    "machine": {
        "processor": "P",
        "cores": "2",
        "system": "S",
        "python": "3",
        "django": "6",
        "sqlite": "3",
        "postgresql": "15",
    }
}
MEASURED_ON = "Measured on P, 2 cores, S, with Python 3, Django 6, SQLite 3 and PostgreSQL 15."


def keep(directory: Path, name: str, report: Report) -> None:
    (directory / f"{name}.json").write_text(json.dumps({**KEPT, **report.as_json()}))


def test_tables__show_the_headlines_of_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, "tests", REPORT)
    only = Figure("    a split", 1234.5, "times", at_least=1000.0)
    keep(tmp_path, "split", Report("A split", [*REPORT.figures, only]))
    headlines = [
        ("split", "    a split", "a headline"),
        ("fleet", "a fleet", "one that nobody has measured"),
        ("tests", "steps", "all steps"),
    ]
    monkeypatch.setattr(tables, "HEADLINES", headlines)
    page = "Before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n"
    assert tables.filled(page, tmp_path) == (
        "Before\n<!-- figures -->\n"
        "|  | measured | must be |\n"
        "| --- | ---: | ---: |\n"
        "| a headline | 1,234 times | ≥ 1,000 times |\n"
        "| all steps | 1,204 steps | ≥ 2,000 steps, **missed** |\n"
        f"\n{MEASURED_ON}\n"
        "<!-- end of figures -->\nafter\n"
    )


def test_tables__every_headline_was_measured() -> None:
    for name, what, _ in tables.HEADLINES:
        kept = json.loads((tables.ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
        assert what in [figure["what"] for figure in kept["figures"]], (name, what)


def test_tables__show_everything_that_one_benchmark_found(tmp_path: Path) -> None:
    keep(tmp_path, "tests", REPORT)
    page = "<!-- figures tests -->\n<!-- end of figures -->\n"
    assert tables.filled(page, tmp_path) == (
        "<!-- figures tests -->\n"
        "|  | measured | floor | must be |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| a walk against a ride | 3 times |  | ≤ 4 times |\n"
        "| steps | 1,204 steps |  | ≥ 2,000 steps, **missed** |\n"
        "| a step | 0.5 s | 0.25 s |  |\n"
        "\n"
        "|  | Time, s |\n"
        "| --- | ---: |\n"
        "| dsud | 2 |\n"
        "| one SQLite database | 4 |\n"
        "| bare sqlite3 | 1 |\n"
        "\nwalkers: 3.\n"
        "\none SQLite database: it rained.\n"
        "\nWithout the train: it is late.\n"
        f"\n{MEASURED_ON}\n"
        "<!-- end of figures -->\n"
    )


def test_tables__of_what_was_not_kept_are_empty(tmp_path: Path) -> None:
    page = "<!-- figures tests -->\n<!-- end of figures -->\n"
    assert tables.filled(page, tmp_path) == page


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_pages__say_what_the_results_say(page: Path) -> None:
    written = page.read_text()
    assert written == tables.filled(written, RESULTS), "run python -m benchmarks --tables"


def test_command__refuses_a_name_that_it_does_not_know() -> None:
    command = [sys.executable, "-m", "benchmarks", "nonsense"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "invalid choice: 'nonsense'" in ended.stderr
