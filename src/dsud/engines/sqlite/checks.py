"""What can be wrong with the settings of the SQLite engine."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.checks import CheckMessage, Error

if TYPE_CHECKING:
    from dsud.engines.sqlite.engine import Engine

#: Releases whose checkpoints cannot race (https://www.sqlite.org/wal.html).
_FIXED = (3, 51, 3)
_FIXED_BRANCHES = {(3, 50): 7, (3, 44): 6}


def check_engine(engine: Engine) -> list[CheckMessage]:
    """Return what is wrong with the location."""
    return [*_check_writable(engine.location), *_check_not_served(engine.location)]


def _check_writable(location: Path) -> Iterator[CheckMessage]:
    existing = location
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Error(
            f"The location of user databases, {location}, cannot be written to.",
            hint='Set USER_DATABASES["default"]["LOCATION"] to a directory that the site may'
            " write to, or change its permissions.",
            id="dsud.E010",
        )


def _check_not_served(location: Path) -> Iterator[CheckMessage]:
    for name in ("STATIC_ROOT", "MEDIA_ROOT"):
        root = getattr(settings, name, None)
        if root and _contains(Path(root), location):
            yield Error(
                f"The location of user databases, {location}, is inside {name}:"
                " the web server would hand them to everybody.",
                hint='Set USER_DATABASES["default"]["LOCATION"] = BASE_DIR / "user_databases".',
                id="dsud.E011",
            )


def _contains(root: Path, location: Path) -> bool:
    return location.resolve().is_relative_to(root.resolve())


def may_lose_commits(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Tell whether this SQLite can lose commits when checkpoints of several processes race."""
    fixed = _FIXED_BRANCHES.get(version[:2])
    return version < _FIXED and (fixed is None or version[2] < fixed)
