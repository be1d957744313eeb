"""Which engine the settings name, asked for each time and built once."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from django.core.signals import setting_changed

from dsud.conf import EngineSettings, conf
from dsud.engines.base import BaseEngine
from dsud.engines.scratch import in_tests, scratch
from dsud.exceptions import InvalidEngine

DEFAULT = "default"

#: The engine, by the directory of the tests that use it; None is the site itself.
_built: dict[Path | None, BaseEngine] = {}


def engine() -> BaseEngine:
    """Return the engine where user databases live.

    Raises ``InvalidEngine`` when ``USER_DATABASES`` cannot be used.
    """
    directory = scratch.directory() if in_tests() else None
    found = _built.get(directory)
    if found is None:
        # Threads that come at once must get one and the same, because it knows what they staged.
        built = build(DEFAULT, conf.USER_DATABASES, directory_of_tests=directory)
        found = _built.setdefault(directory, built)
    return found


def build(alias: str, databases: object, *, directory_of_tests: Path | None = None) -> BaseEngine:
    """Build the engine that ``USER_DATABASES[alias]`` describes.

    In tests what the settings say of LOCATION is replaced.
    """
    if not isinstance(databases, dict) or not isinstance(databases.get(alias), dict):
        raise InvalidEngine(
            f"USER_DATABASES has no entry {alias!r}. Write USER_DATABASES ="
            ' {"default": {"ENGINE": "dsud.engines.sqlite", "LOCATION": ...}}.'
        )
    settings: EngineSettings = databases[alias]
    if unknown := set(settings) - {"ENGINE", "LOCATION", "OPTIONS"}:
        raise InvalidEngine(
            f"USER_DATABASES[{alias!r}] has unknown keys: {', '.join(sorted(unknown))}."
            " It takes ENGINE, LOCATION and OPTIONS."
        )
    path = settings.get("ENGINE", "dsud.engines.sqlite")
    try:
        engine_class: type[BaseEngine] = import_module(path).Engine
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InvalidEngine(
            f"USER_DATABASES[{alias!r}]['ENGINE'] is {path!r}, which is not an engine: {error}."
        ) from error
    if not isinstance(settings.get("OPTIONS", {}), Mapping):
        raise InvalidEngine(f"USER_DATABASES[{alias!r}]['OPTIONS'] is no dict.")
    built = engine_class(alias, settings)
    if directory_of_tests and scratch.replaces(settings.get("LOCATION"), databases):
        return engine_class(
            alias, engine_class.settings_for_tests(settings, directory_of_tests / alias)
        )
    return built


def forget() -> None:
    """Build the engine anew at its next use."""
    _built.clear()


def forget_engine(*, setting: str, **kwargs: object) -> None:
    """Build the engine anew after a setting that describes it has changed."""
    if setting in ("USER_DATABASES", "BASE_DIR"):
        forget()


setting_changed.connect(forget_engine, dispatch_uid="dsud.engines.forget_engine")
