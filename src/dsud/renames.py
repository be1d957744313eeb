"""What models are called today that migrations know by earlier names."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from django.apps import apps
from django.db.models import Model

if TYPE_CHECKING:
    from django.db.migrations.operations.base import Operation


def installed(label: str) -> type[Model] | None:
    """Return the model of a label, or None when there is none today."""
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        return None


def current_label(label: str) -> str:
    """Return what a model is called today that migrations know by an earlier name."""
    seen = {label}
    while installed(label) is None and (label := _next_label(label)) not in seen:
        seen.add(label)
    return label


def _next_label(label: str) -> str:
    return renamed(label.split(".", maxsplit=1)[0]).get(label, label)


@functools.cache
def renamed(app_label: str) -> dict[str, str]:
    """Return the label that each renamed model of an app got, by the one that it had."""
    # Here, because only migrations meet earlier names.
    from django.db.migrations.operations import RenameModel

    return {
        f"{app_label}.{operation.old_name_lower}": f"{app_label}.{operation.new_name_lower}"
        for operation in _operations(app_label)
        if isinstance(operation, RenameModel)
    }


def _operations(app_label: str) -> Iterator[Operation]:
    """Yield what the migrations of one app do; a package that is missing is for ``migrate`` to tell."""
    from django.db.migrations.loader import MigrationLoader

    if app_label not in apps.app_configs:
        return
    package, _ = MigrationLoader.migrations_module(app_label)
    if package is None:
        return
    try:
        places = getattr(import_module(package), "__path__", ())
    except ModuleNotFoundError:
        return
    for module in iter_modules(places, f"{package}."):
        if not module.ispkg and (
            migration := getattr(import_module(module.name), "Migration", None)
        ):
            yield from _flat(migration.operations)


def _flat(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Yield operations, those inside of ``SeparateDatabaseAndState`` too."""
    for operation in operations:
        yield operation
        yield from _flat(getattr(operation, "state_operations", ()))
