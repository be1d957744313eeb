"""A site of its own, in other processes, for bridges that need apps, workers or brokers."""

from pathlib import Path

import pytest

from tests.sites import Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return a site whose shared tables are there; tests share it and make users of their own."""
    site = Site(Path(tmp_path_factory.mktemp("contrib")), settings="tests.contrib.settings")
    finished = site.manage("migrate", "--verbosity=0")
    assert finished.returncode == 0, finished.stderr
    return site
