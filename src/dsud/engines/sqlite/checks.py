"""What can be wrong with the settings of the SQLite engine."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.checks import CheckMessage, Error

from dsud.engines.sqlite.connection import OPTIONS
from dsud.exceptions import InvalidEngine

if TYPE_CHECKING:
    from dsud.engines.sqlite.engine import Engine

#: Releases whose checkpoints cannot race (https://www.sqlite.org/wal.html).
_FIXED = (3, 51, 3)
_FIXED_BRANCHES = {(3, 50): 7, (3, 44): 6}

#: What each of the OPTIONS may be; SQLite takes what it does not know for NORMAL.
_CHOICES = {
    "synchronous": ("OFF", "NORMAL", "FULL", "EXTRA"),
    "transaction_mode": ("DEFERRED", "IMMEDIATE", "EXCLUSIVE"),
}

_NUMBERS = {
    "timeout": ((int, float), 0, "a number of seconds"),
    "cache_size": ((int,), 1, "a number of KiB"),
}


def complete_options(alias: str, options: Mapping[str, object]) -> dict[str, object]:
    """Return the OPTIONS of an engine with all defaults; raise ``InvalidEngine`` for wrong ones."""
    if unknown := set(options) - set(OPTIONS):
        raise InvalidEngine(
            f"USER_DATABASES[{alias!r}]['OPTIONS'] has unknown names:"
            f" {', '.join(sorted(unknown))}. It takes {', '.join(OPTIONS)}."
        )
    complete = {**OPTIONS, **options}
    for name, value in complete.items():
        if wanted := _what_is_wanted(name, value):
            raise InvalidEngine(
                f"USER_DATABASES[{alias!r}]['OPTIONS'][{name!r}] is {value!r}. It takes {wanted}."
            )
    return complete


def _what_is_wanted(name: str, value: object) -> str | None:
    """Say what an option takes, or None when the value is that."""
    if name in _CHOICES:
        known = str(value).upper() in _CHOICES[name]
        return None if known else f"one of {', '.join(_CHOICES[name])}"
    types, least, wanted = _NUMBERS[name]
    fits = isinstance(value, types) and not isinstance(value, bool) and float(value) >= least
    return None if fits else wanted


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
    for name, root in _served_directories():
        if _contains(root, location):
            yield Error(
                f"The location of user databases, {location}, is inside {name}:"
                " the web server would hand them to everybody.",
                hint='Set USER_DATABASES["default"]["LOCATION"] = BASE_DIR / "user_databases".',
                id="dsud.E011",
            )


def _served_directories() -> Iterator[tuple[str, Path]]:
    for name in ("STATIC_ROOT", "MEDIA_ROOT"):
        if root := getattr(settings, name, None):
            yield name, Path(root)
    entries: list[object] = list(settings.STATICFILES_DIRS)
    for entry in entries:  # Copied to STATIC_ROOT by collectstatic; some have a prefix.
        path = entry[1] if isinstance(entry, (list, tuple)) else entry
        yield "STATICFILES_DIRS", Path(str(path))


def _contains(root: Path, location: Path) -> bool:
    return location.resolve().is_relative_to(root.resolve())


def may_lose_commits(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Tell whether this SQLite can lose commits when checkpoints of several processes race."""
    fixed = _FIXED_BRANCHES.get((version[0], version[1]))
    return version < _FIXED and (fixed is None or version[2] < fixed)
