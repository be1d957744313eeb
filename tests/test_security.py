"""The page about risks names tests; each of them must be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "security.md").read_text()
SOURCES = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+__\w+)`", PAGE))))
def test_security__named_test_exists(name: str) -> None:
    assert re.search(rf"def {name}\(", SOURCES)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/\w+\.py)`", PAGE))))
def test_security__named_module_exists(path: str) -> None:
    assert (TESTS.parent / path).is_file()
