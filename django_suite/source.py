"""Django's own tests: the source distribution of the installed version, fetched once and kept."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django


class SourceUnavailable(Exception):
    """Raised when Django's source distribution cannot be had."""


def default_directory() -> Path:
    """Return where sources are kept between runs: a directory of this user's in the temporary one.

    Raises ``SourceUnavailable`` when it is somebody else's, because what is in it gets executed.
    """
    directory = Path(tempfile.gettempdir()) / f"dsud-django-suite-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid() or directory.is_symlink():
        raise SourceUnavailable(f"{directory} is not yours. Name another one: --directory PATH.")
    return directory


def tests_directory(directory: Path) -> Path:
    """Return the directory of ``runtests.py`` for the installed Django; fetch what is missing.

    Raises ``SourceUnavailable`` when it cannot be fetched, or holds no tests.
    """
    source = directory / f"django-{django.__version__}"
    if not source.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            # By one rename, because a run that is interrupted must not leave half a source.
            _extract(_fetch(Path(scratch)), Path(scratch) / "source").rename(source)
    if not (source / "tests" / "runtests.py").is_file():
        raise SourceUnavailable(f"{source} has no tests/runtests.py. Remove it and run again.")
    return source / "tests"


def _fetch(directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", f"django=={django.__version__}"]
    options = ["--no-binary=:all:", "--no-deps", "--quiet", f"--dest={directory}"]
    finished = subprocess.run(  # noqa: S603, because only the version varies, and it is Django's own
        [*command, *options], capture_output=True, text=True, check=False
    )
    archives = list(directory.glob("*.tar.gz"))
    if finished.returncode or len(archives) != 1:
        raise SourceUnavailable(
            f"pip cannot fetch the source of Django {django.__version__}:\n{finished.stderr}"
        )
    return archives[0]


def _extract(archive: Path, directory: Path) -> Path:
    with tarfile.open(archive) as opened:
        opened.extractall(directory, filter="data")
    (top,) = directory.iterdir()
    return top
