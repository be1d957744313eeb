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


@pytest.fixture(autouse=True)
def files_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the engine's method until it is there."""
    from dsud.engines.base import BaseEngine
    from dsud.engines.sqlite.engine import Engine

    def stand_in(self: Engine, user_key: str) -> Path:
        path = self.path_of(user_key)
        if path is None:
            self.when_missing(user_key)
            path = self.path_of(user_key)
        directory = path.parent / "files"
        directory.mkdir(mode=0o700, exist_ok=True)
        return directory

    if not hasattr(BaseEngine, "files_directory"):
        monkeypatch.setattr(Engine, "files_directory", stand_in, raising=False)
