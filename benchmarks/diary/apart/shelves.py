"""As many more tables as `BENCH_TABLES` says, because a site seldom has but one; nobody writes to them.

They came about in fourteen migrations, as on a site that has grown: four tables at a time, and later
changes of two tables each, a column more or longer names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from django.db import migrations, models
from django.db.migrations.operations.base import Operation

NUMBERS = range(1, int(os.environ.get("BENCH_TABLES", "0")) + 1)

#: How many tables a migration adds, and how many it changes.
ADDED, CHANGED = 4, 2

#: How many tables had no column for notes at first, and how many had shorter names.
WITHOUT_NOTES, SHORTER = 12, 6


def fields() -> dict[str, models.Field[object, object]]:
    """Return the columns of each of them but its key: with an index, as a key to another row brings."""
    return {
        "name": models.CharField(max_length=50),
        "note": models.TextField(blank=True),
        "above": models.ForeignKey("self", models.CASCADE, null=True),
    }


def make_models(module: str) -> dict[str, type[models.Model]]:
    """Return a model for each table, to be put into a module."""
    names = [f"Shelf{number}" for number in NUMBERS]
    return {name: type(name, (models.Model,), {"__module__": module, **fields()}) for name in names}


# How they came about


def added(step: int) -> list[Operation]:
    """Return what makes the tables of a step, as they were at first."""
    return [migrations.CreateModel(f"Shelf{each}", _at_first(each)) for each in _of(step, ADDED)]


def with_notes(step: int) -> list[Operation]:
    """Return what adds the column for notes to the tables of a step."""
    field = fields()["note"]
    return [
        migrations.AddField(f"Shelf{each}", "note", field.clone()) for each in _of(step, CHANGED)
    ]


def with_longer_names(step: int) -> list[Operation]:
    """Return what has the names in the tables of a step be as long as they may be now."""
    field = fields()["name"]
    return [
        migrations.AlterField(f"Shelf{each}", "name", field.clone()) for each in _of(step, CHANGED)
    ]


def _at_first(number: int) -> list[tuple[str, models.Field[Any, Any]]]:
    key = models.BigAutoField(
        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
    )
    above = models.ForeignKey(f"apart.Shelf{number}", models.CASCADE, null=True)
    columns: dict[str, models.Field[Any, Any]] = {"id": key, **fields(), "above": above}
    if number <= WITHOUT_NOTES:
        del columns["note"]
    if number <= SHORTER:
        columns["name"] = models.CharField(max_length=30)
    return list(columns.items())


def _of(step: int, at_once: int) -> Iterable[int]:
    """Return the numbers of the tables of a step."""
    return NUMBERS[step * at_once : (step + 1) * at_once]
