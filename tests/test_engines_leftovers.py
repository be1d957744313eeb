"""A run that was killed leaves a directory, which the next one finds by its lock."""

import os
import tempfile
from pathlib import Path

import pytest

from dsud.engines import leftovers


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have directories of runs among those of the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_remove_leftovers__of_runs_that_have_ended() -> None:
    going_on, held = leftovers.make_directory()
    ended, released = leftovers.make_directory()
    (ended / "default").mkdir()
    os.close(released)

    leftovers.remove_leftovers()
    assert going_on.is_dir()
    assert not ended.exists()
    os.close(held)
    leftovers.remove_leftovers()
    assert not going_on.exists()


def test_remove_leftovers__not_what_a_forked_process_goes_on_with() -> None:
    directory, descriptor = leftovers.make_directory()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)  # Until the parent has looked.
        os._exit(0)
    os.close(descriptor)

    leftovers.remove_leftovers()
    assert directory.is_dir()
    os.close(writing)
    os.waitpid(child, 0)
    os.close(reading)
    leftovers.remove_leftovers()
    assert not directory.exists()


def test_remove_leftovers__not_what_is_somebody_elses(temporary: Path) -> None:
    (temporary / "dsud-tests-without-a-lock").mkdir()
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere" / leftovers.LOCK).touch()
    (temporary / "dsud-tests-link").symlink_to(temporary / "elsewhere")
    (temporary / "dsud-tests-file").touch()

    leftovers.remove_leftovers()
    assert len(list(temporary.iterdir())) == 4
