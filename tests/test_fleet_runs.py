"""Runs that are noted in the registry while they go on."""

from collections.abc import Iterator

import pytest

from dsud.fleet import Outcome, recorded, runs
from dsud.models import FleetFailure, FleetRun

pytestmark = pytest.mark.django_db


def outcomes(count: int, *, failing: int = 0) -> Iterator[Outcome[None]]:
    for number in range(count):
        error = ValueError(f"odd {number}") if number < failing else None
        yield Outcome(str(number), None, error, 0.1)


def told(run: FleetRun) -> tuple[object, ...]:
    return run.outcome, run.done, run.failed, run.finished is not None


def test_recorded__done() -> None:
    passed = list(recorded(outcomes(3), command="migrate_user_dbs", arguments=["notes"]))
    assert [each.user_key for each in passed] == ["0", "1", "2"]
    run = FleetRun.objects.get()
    assert (run.command, run.arguments) == ("migrate_user_dbs", ["notes"])
    assert told(run) == ("done", 3, 0, True)
    assert str(run) == f"{run.pk}: migrate_user_dbs"


def test_recorded__each_failure_with_its_cause() -> None:
    list(recorded(outcomes(5, failing=2), command="c"))
    assert told(FleetRun.objects.get()) == ("failed", 3, 2, True)
    assert list(FleetFailure.objects.values_list("user_key", "cause")) == [
        ("0", "ValueError: odd 0"),
        ("1", "ValueError: odd 1"),
    ]
    assert str(FleetFailure.objects.first()) == "0: ValueError: odd 0"


def test_recorded__stopped() -> None:
    def interrupted() -> Iterator[Outcome[None]]:
        yield from outcomes(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(recorded(interrupted(), command="c"))
    left = recorded(outcomes(9), command="c")
    next(left)
    left.close()
    second, first = FleetRun.objects.all()
    assert told(first) == ("stopped", 2, 0, True)
    assert told(second) == ("stopped", 1, 0, True)


def test_recorded__while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "EVERY_FAILURES", 3)
    monkeypatch.setattr(runs, "EVERY_SECONDS", 1000)
    running = recorded(outcomes(9, failing=9), command="c")
    for _ in range(4):
        next(running)
    assert told(FleetRun.objects.get()) == ("running", 0, 3, False)
    assert FleetFailure.objects.count() == 3
    monkeypatch.setattr(runs, "EVERY_SECONDS", 0)
    next(running)
    assert told(FleetRun.objects.get()) == ("running", 0, 5, False)
    list(running)
    assert FleetFailure.objects.count() == 9
