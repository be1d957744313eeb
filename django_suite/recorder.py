"""A test runner that writes down what becomes of each test; Django's ``runtests.py`` loads it by its path."""

# ruff: noqa: N802, because unittest names the methods.

from __future__ import annotations

import json
import os
import unittest
from collections.abc import Sequence
from io import TextIOBase
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from django.conf import settings
from django.db import connections
from django.test import utils
from django.test.runner import DiscoverRunner

from django_suite.outcomes import END, LEFT_OUT

#: Names the file that is written: the backends, then a JSON list of test, event and detail per line, then the end.
ENVIRONMENT_VARIABLE = "DJANGO_SUITE_RECORD"

if TYPE_CHECKING:
    Failure: TypeAlias = (
        tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    )


class Recorder(unittest.TextTestResult):
    """What unittest reports, one line per event."""

    file: ClassVar[TextIOBase]

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self._record(test, "ok")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._record(test, "skip", reason)

    def addFailure(self, test: unittest.TestCase, err: Failure) -> None:
        super().addFailure(test, err)
        self._record(test, "fail", self.failures[-1][1])

    def addError(self, test: unittest.TestCase, err: Failure) -> None:
        super().addError(test, err)
        self._record(test, "error", self.errors[-1][1])

    def addExpectedFailure(self, test: unittest.TestCase, err: Failure) -> None:
        super().addExpectedFailure(test, err)
        self._record(test, "expected failure")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self._record(test, "unexpected success")

    def addSubTest(
        self, test: unittest.TestCase, subtest: unittest.TestCase, err: Failure | None
    ) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None and err[0] is not None:
            failed = issubclass(err[0], test.failureException)
            told = (self.failures if failed else self.errors)[-1][1]
            self._record(test, "fail" if failed else "error", told)

    def _record(self, test: unittest.TestCase, event: str, detail: str = "") -> None:
        # A subtest that is skipped comes alone; it counts for the test that it is a part of.
        whole = getattr(test, "test_case", test)
        self.file.write(json.dumps([whole.id(), event, detail]) + "\n")


class RecordingRunner(DiscoverRunner):
    """Django's runner, with the recorder in the place of unittest's result."""

    def get_resultclass(self) -> type[Recorder]:
        return Recorder

    def build_suite(
        self, test_labels: Sequence[str] | None = None, **kwargs: object
    ) -> unittest.TestSuite:
        """Skip what the settings leave out, with the reason that they give."""
        suite: unittest.TestSuite = super().build_suite(test_labels, **kwargs)
        left_out = getattr(settings, "LEFT_OUT", {})
        for test in utils.iter_test_cases(suite):  # type: ignore[attr-defined]
            if (reason := left_out.get(test.id())) is not None:
                skip = unittest.skip(LEFT_OUT + reason)
                setattr(test, test._testMethodName, skip(lambda: None))
        return suite

    def run_suite(self, suite: unittest.TestSuite, **kwargs: object) -> unittest.TextTestResult:
        """Run the tests; write down on which backends, and that they came to their end."""
        # Line by line, because what was recorded before a crash says where it was.
        with Path(os.environ[ENVIRONMENT_VARIABLE]).open("w", buffering=1) as Recorder.file:
            backends = {type(connection).__module__ for connection in connections.all()}
            Recorder.file.write(json.dumps(sorted(backends)) + "\n")
            result = super().run_suite(suite, **kwargs)
            Recorder.file.write(END + "\n")
        return result
