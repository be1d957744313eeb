"""Fixtures that every test may use."""

import gc
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User

from dsud import engines
from dsud.connections import release
from dsud.context import _active
from dsud.engines.scratch import scratch
from dsud.leases import Force
from dsud.pool import pool
from tests import flushing, warm

#: Templates of user databases by schema, as a process keeps them in memory.
_images: dict[str, bytes] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Let tests put user databases where they put everything, and flush quickly."""
    scratch.allow(Path(tempfile.gettempdir()))
    flushing.make_quick()


def pytest_collection_finish() -> None:
    """Spare the garbage collector what is there for all of the run: it is asked often, and is not quick."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the directory that the settings made for this process, and end its warm interpreter."""
    warm.close()
    shutil.rmtree(settings.BASE_DIR, ignore_errors=True)


@pytest.fixture(autouse=True)
def clean_pool() -> Iterator[None]:
    """Give back and close every connection that a test leaves open, and let it leave nobody active."""
    yield
    release(force=Force.EVERYTHING)
    pool.close_idle()
    left, _active_entry = _active.get(), _active.set(None)
    assert left is None, "The test left somebody active."


@pytest.fixture
def alice(db: None) -> User:
    """Return a user, made by hand so that no sign-up is involved."""
    return get_user_model().objects.create_user("alice", password="secret")


@pytest.fixture
def bob(db: None) -> User:
    """Return another user."""
    return get_user_model().objects.create_user("bob", password="secret")


@pytest.fixture
def location(tmp_path, settings) -> Iterator[object]:
    """Give the test a location of its own for user databases."""
    settings.USER_DATABASES = {
        "default": {"ENGINE": "dsud.engines.sqlite", "LOCATION": tmp_path / "user_databases"}
    }
    # Built once for all tests, because no test is about it that uses this fixture.
    engines.engine()._templates._images = _images
    return engines.engine().location
