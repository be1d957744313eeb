"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

import io
import re
from collections.abc import Iterator

import pytest

from dsud.fleet import Outcome
from dsud.management.progress import Progress


class Clock:
    """Goes on by a second whenever it is asked."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def outcomes(count: int, *, failing: int = 0) -> Iterator[Outcome[None]]:
    for number in range(count):
        error = ValueError("odd") if number < failing else None
        yield Outcome(str(number), None, error, 0.1)


def follow(stream: io.StringIO, count: int, *, failing: int = 0, is_quiet: bool = False) -> str:
    progress = Progress(stream, total=count, verb="migrated", is_quiet=is_quiet, clock=Clock())
    followed = progress.following(outcomes(count, failing=failing))
    assert [each.user_key for each in followed] == [str(number) for number in range(count)]
    return stream.getvalue()


def test_lines__now_and_then_with_rate_failures_and_time_left() -> None:
    assert follow(io.StringIO(), 12, failing=2).splitlines() == [
        " 41% migrated 5 of 12, 2 failed, 1/s, 0:00:07 left",
        " 83% migrated 10 of 12, 2 failed, 1/s, 0:00:02 left",
    ]


def test_lines__none_for_what_is_done_soon() -> None:
    assert follow(io.StringIO(), 4) == ""
    assert follow(io.StringIO(), 5) == ""  # Because what is over is told by the command.


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_quiet(stream: io.StringIO) -> None:
    assert follow(stream, 40, is_quiet=True) == ""
    assert follow(stream, 0) == ""


def test_bar__rate_time_left_and_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    shown = follow(Terminal(), 12, failing=2)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "migrated" in plain
    assert "12/12" in plain
    assert "2 failed" in plain
    assert "/s" in plain
    assert shown.rstrip().endswith("\x1b[2K")  # It wipes itself away.


def test_aside__the_bar_makes_room_for_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    progress = Progress(stream, total=3, verb="done", clock=Clock())
    for outcome in progress.following(outcomes(3)):
        with progress.aside():
            stream.write(f"<{outcome.user_key}>\n")
    text = stream.getvalue()
    for number in range(3):
        before = text[: text.index(f"<{number}>")]
        assert before.rstrip().endswith("\x1b[2K"), number  # The line was empty.
    with progress.aside():
        pass  # When it is over there is nothing to hide.
