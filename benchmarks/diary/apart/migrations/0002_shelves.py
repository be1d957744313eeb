from __future__ import annotations

from django.db import migrations, models

from benchmarks.diary.apart.shelves import NUMBERS, fields


def _columns(number: int) -> list[tuple[str, models.Field[object, object]]]:
    found = {
        **fields(),
        "above": models.ForeignKey(f"apart.Shelf{number}", models.CASCADE, null=True),
    }
    return [("id", models.BigAutoField(primary_key=True)), *found.items()]


class Migration(migrations.Migration):
    """The tables of the shelves, all at once."""

    dependencies = [("apart", "0001_initial")]
    operations = [migrations.CreateModel(f"Shelf{each}", _columns(each)) for each in NUMBERS]
