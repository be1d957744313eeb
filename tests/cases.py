"""Test classes that are run for real inside a test."""

import unittest
from collections.abc import Callable, Iterator

import pytest
from django.test import TestCase

from dsud import testing


@pytest.fixture
def prepared(transactional_db: None) -> Iterator[None]:
    """Prepare the process as a runner does, and leave it as it was."""
    testing.install()
    testing.start_afresh()
    yield
    testing.start_afresh()
    testing.uninstall()


def run(*classes: type[unittest.TestCase]) -> None:
    """Run the tests of classes, in order, and assert that all pass."""
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    result = unittest.TestResult()
    unittest.TestSuite(load(each) for each in classes).run(result)
    problems = [text for _, text in result.errors + result.failures]
    assert not problems, "\n".join(problems)
    assert result.testsRun == sum(load(each).countTestCases() for each in classes)


def run_test(test: Callable[[], object]) -> None:
    """Run a function as the only test of a ``TestCase``."""

    class Tests(TestCase):
        def test(self) -> None:
            test()

    run(Tests)
