"""What models are called today that migrations know by earlier names."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
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
    while installed(label) is None and (label := renamed().get(label, label)) not in seen:
        seen.add(label)
    return label


@functools.cache
def renamed() -> dict[str, str]:
    """Return the label that each renamed model got, by the one that it had."""
    # Here, because only migrations meet earlier names, and reading them all takes its time.
    from django.db.migrations.loader import MigrationLoader
    from django.db.migrations.operations import RenameModel

    return {
        f"{app_label}.{operation.old_name_lower}": f"{app_label}.{operation.new_name_lower}"
        for (app_label, _), migration in MigrationLoader(None).disk_migrations.items()
        for operation in _flat(migration.operations)
        if isinstance(operation, RenameModel)
    }


def _flat(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Yield operations, those inside of ``SeparateDatabaseAndState`` too."""
    for operation in operations:
        yield operation
        yield from _flat(getattr(operation, "state_operations", ()))
