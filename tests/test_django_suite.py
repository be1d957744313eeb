"""The comparison with Django's own tests says what differs, and does not take a broken run for a good one."""

import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import django
import pytest
from rich.console import Console

from django_suite import __main__, source, table
from django_suite.outcomes import (
    END,
    Comparison,
    Difference,
    Outcome,
    Outcomes,
    RecordUnusable,
    compare,
    module_of,
    read,
    together,
)
from django_suite.sides import OURS, STOCK, sides

OK = Outcome("ok")


def record(*events: tuple[str, str, str], engine: str = OURS) -> str:
    """Return what the recorder writes."""
    lines = [json.dumps([f"{engine}.base"]), *map(json.dumps, events), END]
    return "".join(f"{line}\n" for line in lines)


def outcomes(*events: tuple[str, str, str]) -> Outcomes:
    return read(record(*events), engine=OURS)


# Reading a record


@pytest.mark.parametrize(
    ("event", "detail", "outcome"),
    [
        ("ok", "", OK),
        ("skip", "no JSON", Outcome("skip", frozenset({"no JSON"}))),
        ("fail", "Traceback", Outcome("fail")),
        ("error", "Traceback", Outcome("error")),
        ("expected failure", "", Outcome("expected failure")),
        ("unexpected success", "", Outcome("unexpected success")),
    ],
)
def test_read__one_event(event: str, detail: str, outcome: Outcome) -> None:
    assert outcomes(("basic.T.test", event, detail)) == {"basic.T.test": outcome}


def test_read__keeps_the_traceback() -> None:
    assert outcomes(("basic.T.test", "error", "Trace\nback"))["basic.T.test"].traceback == (
        "Trace\nback"
    )


@pytest.mark.parametrize("first", ["ok", "skip", "fail"])
def test_read__of_several_events_the_worst_decides(first: str) -> None:
    events = [("basic.T.test", first, "a"), ("basic.T.test", "error", "b")]
    for order in (events, events[::-1]):
        assert outcomes(*order)["basic.T.test"].event == "error"


def test_read__of_skipped_subtests_keeps_each_reason() -> None:
    found = outcomes(("basic.T.test", "skip", "a"), ("basic.T.test", "skip", "b"))
    assert str(found["basic.T.test"]) == "skip: a: b"


@pytest.mark.parametrize("text", ["", "\n", END, '["dsud.engines.sqlite.base"]\n'])
def test_read__of_a_record_without_an_end(text: str) -> None:
    with pytest.raises(RecordUnusable, match=r"^ended before its last test$"):
        read(text, engine=OURS)


def test_read__of_a_record_that_breaks_off() -> None:
    whole = record(("basic.T.test_a", "ok", ""), ("basic.T.test_b", "ok", ""))
    with pytest.raises(RecordUnusable, match=r"^ended before its last test$"):
        read(whole.removesuffix(f"{END}\n"), engine=OURS)


def test_read__of_no_test() -> None:
    with pytest.raises(RecordUnusable, match=r"^ran no test$"):
        outcomes()


def test_read__of_another_engine() -> None:
    with pytest.raises(RecordUnusable) as caught:
        read(record(("basic.T.test", "ok", ""), engine=STOCK), engine=OURS)
    assert str(caught.value) == (
        'was to use dsud.engines.sqlite and used ["django.db.backends.sqlite3.base"]'
    )


@pytest.mark.parametrize(
    ("test", "module"),
    [
        ("basic.tests.ModelTest.test_equality", "basic"),
        ("setUpClass (backends.sqlite.tests.Tests)", "backends"),
        ("unittest.loader._FailedTest.queries.tests", "queries"),
    ],
)
def test_module_of(test: str, module: str) -> None:
    assert module_of(test) == module


# Comparing


def test_compare__equal_sides() -> None:
    found = outcomes(
        ("basic.T.test_a", "ok", ""),
        ("basic.T.test_b", "skip", "no JSON"),
        ("queries.T.test_c", "expected failure", ""),
    )
    figures = compare(found, found)
    assert {module: each.tests for module, each in figures.items()} == {"basic": 2, "queries": 1}
    total = together(figures)
    assert total.events == {"ok": 1, "skip": 1, "expected failure": 1}
    assert (total.failing_in_both, total.differing) == ([], [])


@pytest.mark.parametrize(
    ("stock", "ours"),
    [
        (("ok", ""), ("fail", "Traceback")),
        (("ok", ""), ("skip", "no JSON")),
        (("fail", "Traceback"), ("ok", "")),
        (("fail", "Traceback"), ("error", "Traceback")),
        (("expected failure", ""), ("unexpected success", "")),
        (("skip", "no JSON"), ("skip", "no regular expressions")),
    ],
)
def test_compare__another_outcome(stock: tuple[str, str], ours: tuple[str, str]) -> None:
    theirs, own = outcomes(("basic.T.test", *stock)), outcomes(("basic.T.test", *ours))
    (figures,) = compare(theirs, own).values()
    assert figures.differing == [
        Difference("basic.T.test", theirs["basic.T.test"], own["basic.T.test"])
    ]
    assert not figures.events
    assert figures.failing_in_both == []


def test_compare__a_test_that_is_missing_on_one_side() -> None:
    both, one = {"basic.T.a": OK, "basic.T.b": OK}, {"basic.T.a": OK}
    assert compare(both, one)["basic"].differing == [Difference("basic.T.b", OK, None)]
    assert compare(one, both)["basic"].differing == [Difference("basic.T.b", None, OK)]


@pytest.mark.parametrize("event", ["fail", "error", "unexpected success"])
def test_compare__a_failure_of_both_sides_is_told_and_no_difference(event: str) -> None:
    found = [outcomes(("basic.T.test", event, f"at {side}")) for side in ("0x1", "0x2")]
    figures = compare(*found)["basic"]
    assert (figures.failing_in_both, figures.differing) == (["basic.T.test"], [])


def shown(figures: dict[str, Comparison]) -> str:
    file = io.StringIO()
    table.show(Console(file=file, width=100), figures, title="Django")
    return file.getvalue()


def test_show() -> None:
    stock = outcomes(
        ("basic.T.a", "ok", ""), ("basic.T.b", "error", ""), ("queries.T.c", "skip", "no JSON")
    )
    ours = outcomes(
        ("basic.T.a", "error", "Trace\nValueError: [no] markup"), ("basic.T.b", "error", "")
    )
    text = shown(compare(stock, ours))
    assert re.findall(
        r"│ (\w+) +│ +(\d+) │ +(\d+) │ +(\d+) │ +(\d+) │ +(\d+) │ +(\d+) │", text
    ) == [
        ("basic", "2", "0", "0", "0", "1", "1"),
        ("queries", "1", "0", "0", "0", "0", "1"),
        ("all", "3", "0", "0", "0", "1", "2"),
    ]
    assert text.endswith(
        "Fails in both: basic.T.b\n"
        "Differs: basic.T.a\n  stock: ok\n  ours:  error\n"
        "    Trace\n    ValueError: [no] markup\n"
        "Differs: queries.T.c\n  stock: skip: no JSON\n  ours:  did not run\n"
    )


# The source distribution


def test_tests_directory__keeps_what_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    def fetch(directory: Path) -> Path:
        fetched.append(directory)
        (directory / "runtests.py").touch()
        with tarfile.open(directory / "django.tar.gz", "w:gz") as archive:
            archive.add(directory / "runtests.py", "django-0/tests/runtests.py")
        return directory / "django.tar.gz"

    monkeypatch.setattr(source, "_fetch", fetch)
    tests = tmp_path / "kept" / f"django-{django.__version__}" / "tests"
    assert source.tests_directory(tmp_path / "kept") == tests
    assert source.tests_directory(tmp_path / "kept") == tests
    assert (tests / "runtests.py").is_file()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [tests.parent.name]
    assert len(fetched) == 1


def test_tests_directory__without_tests(tmp_path: Path) -> None:
    kept = tmp_path / f"django-{django.__version__}"
    kept.mkdir()
    with pytest.raises(source.SourceUnavailable) as caught:
        source.tests_directory(tmp_path)
    assert str(caught.value) == f"{kept} has no tests/runtests.py. Remove it and run again."


def test_default_directory__of_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source.tempfile, "gettempdir", lambda: str(tmp_path))
    own = source.default_directory()
    assert own.stat().st_mode & 0o777 == 0o700
    assert source.default_directory() == own
    own.rename(tmp_path / "elsewhere")
    own.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(source.SourceUnavailable) as caught:
        source.default_directory()
    assert str(caught.value) == f"{own} is not yours. Name another one: --directory PATH."


# Whole runs, of a few tests in the place of Django's

RUNTESTS = """
import os
import sys
from pathlib import Path

import django
from django.conf import settings
from django.test.utils import get_runner

ALWAYS_INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
ALWAYS_MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
(option,) = [each for each in sys.argv if each.startswith("--settings=")]
os.environ["DJANGO_SETTINGS_MODULE"] = option.partition("=")[2]
settings.INSTALLED_APPS = ALWAYS_INSTALLED_APPS
settings.MIDDLEWARE = ALWAYS_MIDDLEWARE
django.setup()
sys.exit(bool(get_runner(settings)(verbosity=0).run_tests(["basic"])))
"""

SQLITE = """
DATABASES = {alias: {"ENGINE": "django.db.backends.sqlite3"} for alias in ("default", "other")}
SECRET_KEY = "secret"
"""

TESTS = """
import os
import unittest

from django.apps import apps
from django.db import connections
from django.test import TestCase


class Tests(TestCase):
    databases = {"default", "other"}

    def test_equal(self):
        connections["other"].ensure_connection()

    def test_skipped(self):
        self.skipTest("no JSON")

    def test_subtests(self):
        for number in range(3):
            with self.subTest(number=number):
                if number == 1:
                    self.skipTest("odd")

    @unittest.expectedFailure
    def test_expected(self):
        self.fail()

    def test_fails(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertNotEqual(number, 1)
"""


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return a directory with a source distribution of five tests."""
    tests = tmp_path / f"django-{django.__version__}" / "tests"
    (tests / "basic").mkdir(parents=True)
    (tests / "runtests.py").write_text(RUNTESTS)
    (tests / "test_sqlite.py").write_text(SQLITE)
    (tests / "basic/__init__.py").touch()
    (tests / "basic/tests.py").write_text(TESTS)
    return tmp_path


def add_test(kept: Path, body: str) -> None:
    (path,) = kept.glob("*/tests/basic/tests.py")
    path.write_text(f"{TESTS}\n    def test_added(self):\n        {body}\n")


def run(kept: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "django_suite", f"--directory={kept}", "basic", *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def figures_of(finished: subprocess.CompletedProcess[str]) -> list[str]:
    """Return tests, ok, skipped, expected failures, failing in both, differing."""
    (line,) = [line for line in finished.stdout.splitlines() if line.startswith("│ all")]
    return re.findall(r"\d+", line)


@pytest.mark.once
@pytest.mark.parametrize(
    "options", [[], ["--installed"], ["--leased"], ["--on-disk"], ["--installed", "--leased"]]
)
def test_run__of_equal_sides(kept: Path, options: list[str]) -> None:
    finished = run(kept, *options)
    assert figures_of(finished) == ["5", "1", "2", "1", "1", "0"], finished.stderr
    assert "Fails in both: basic.tests.Tests.test_fails\n" in finished.stdout
    assert finished.returncode == 0


@pytest.mark.once
def test_run__finds_what_differs(kept: Path) -> None:
    add_test(kept, "self.assertIn('django', type(connections['other']).__module__)")
    finished = run(kept)
    assert figures_of(finished) == ["6", "1", "2", "1", "1", "1"], finished.stderr
    assert "Differs: basic.tests.Tests.test_added\n  stock: ok\n  ours:  fail\n" in finished.stdout
    assert "'django' not found in 'dsud.engines.sqlite.base'" in finished.stdout
    assert finished.returncode == 1


@pytest.mark.once
def test_run__with_dsud_installed_on_our_side_only(kept: Path) -> None:
    add_test(kept, "self.assertTrue(apps.is_installed('dsud'))")
    finished = run(kept, "--installed")
    assert (
        "Differs: basic.tests.Tests.test_added\n  stock: fail\n  ours:  ok\n" in finished.stdout
    ), finished.stderr
    assert finished.returncode == 1


@pytest.mark.once
def test_run__with_leased_connections_on_our_side_only(kept: Path) -> None:
    add_test(kept, "self.assertEqual(connections['other'].user_key, 'other')")
    finished = run(kept, "--leased")
    assert (
        "Differs: basic.tests.Tests.test_added\n  stock: error\n  ours:  ok\n" in finished.stdout
    ), finished.stderr
    assert finished.returncode == 1


@pytest.mark.once
def test_run__says_what_is_left_out(kept: Path) -> None:
    (tests,) = kept.glob("*/tests")
    (tests / "backends/sqlite").mkdir(parents=True)
    (tests / "backends/__init__.py").touch()
    (tests / "backends/sqlite/__init__.py").touch()
    source_of_test = TESTS.replace("class Tests", "class ThreadSharing").replace(
        "test_equal", "test_database_sharing_in_threads"
    )
    (tests / "backends/sqlite/tests.py").write_text(source_of_test)
    (tests / "runtests.py").write_text(RUNTESTS.replace('"basic"', '"backends"'))
    finished = run(kept, "--leased")
    assert figures_of(finished) == ["5", "0", "3", "1", "1", "0"], finished.stderr
    assert (
        "Left out: backends.sqlite.tests.ThreadSharing.test_database_sharing_in_threads:"
        " it closes SQLite's own connections, and they are the pool's\n" in finished.stdout
    )
    assert "Left out" not in run(kept, "--on-disk").stdout


@pytest.mark.once
@pytest.mark.parametrize(
    ("body", "what"),
    [("os._exit(0)", "ended before its last test"), ("os._exit(7)", "ended with 7")],
)
def test_run__that_breaks_off(kept: Path, body: str, what: str) -> None:
    add_test(kept, body)
    finished = run(kept)
    assert finished.stderr.startswith(f"The run with the stock backend {what}:\n")
    assert finished.returncode == 1


@pytest.mark.once
def test_run__that_hangs(kept: Path) -> None:
    add_test(kept, "import time; time.sleep(600)")
    finished = run(kept, "--seconds=2")
    assert finished.stderr.startswith("The run with the stock backend took more than 2 s:\n")
    assert finished.returncode == 1


@pytest.mark.once
def test_run__of_a_module_that_django_has_not(kept: Path) -> None:
    finished = run(kept, "basics")
    assert finished.stderr == f"Django {django.__version__} has no tests in 'basics'.\n"
    assert finished.returncode == 1


def test_sides__differ_in_the_engine_only(tmp_path: Path) -> None:
    stock, ours = (side.settings(tmp_path) for side in sides())
    assert STOCK in stock
    assert stock.replace(STOCK, OURS) == ours


def test_short__is_a_part_of_all() -> None:
    assert set(__main__.SHORT) < set(__main__.MODULES)
