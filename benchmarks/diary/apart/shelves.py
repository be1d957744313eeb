"""As many more tables as `BENCH_TABLES` says, because a site seldom has but one; nobody writes to them."""

from __future__ import annotations

import os

from django.db import models

NUMBERS = range(1, int(os.environ.get("BENCH_TABLES", "0")) + 1)


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
