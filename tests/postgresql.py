"""A PostgreSQL of the test's own; a test is skipped where there is none."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from benchmarks import postgresql


@contextmanager
def server(directory: Path) -> Iterator[int]:
    """Run a server that trusts its user, and give its port; skip the test where that cannot be."""
    with ExitStack() as stack:
        try:
            port = stack.enter_context(
                postgresql.server(directory, user="workshop", options={"fsync": "off"})
            )
        except postgresql.CannotStart as error:
            pytest.skip(f"PostgreSQL IS NOT TESTED: {error}")
        yield port
