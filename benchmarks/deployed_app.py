"""The app of the site whose fleet is measured: models and migrations, written into a directory."""

from __future__ import annotations

import textwrap
from pathlib import Path

#: How many tables the app has; a user database has five more.
TABLES = 20

#: Rows in each table of each database.
ROWS = 40

_MODEL = """
class Shelf{number}(models.Model):
    name = models.CharField(max_length=50)
    note = models.TextField(blank=True){more}
    above = models.ForeignKey("self", models.CASCADE, null=True)
"""

_CREATED = """
    migrations.CreateModel("Shelf{number}", [
        ("id", models.BigAutoField(primary_key=True)),
        ("name", models.CharField(max_length=50)),
        ("note", models.TextField(blank=True)),
        ("above", models.ForeignKey("shelves.Shelf{number}", models.CASCADE, null=True)),
    ]),
"""

#: Three migrations of ten statements: one rebuilds a table for a default and an index, the others are
#: what most deploys bring.
_STEPS = {
    "0002_room": """
    migrations.AddField("shelf1", "room", models.IntegerField(default=1, db_index=True)),
""",
    "0003_label": """
    migrations.AddField("shelf2", "label", models.CharField(max_length=20, null=True)),
    migrations.AddIndex("shelf2", models.Index(fields=["label"], name="shelf2_label")),
""",
    "0004_size": """
    migrations.AddField("shelf3", "size", models.IntegerField(null=True)),
    migrations.RunSQL("UPDATE shelves_shelf3 SET size = length(name)", migrations.RunSQL.noop),
    {code}
""",
}

_CODE = "migrations.RunPython(touch, migrations.RunPython.noop),"

_MIGRATION = """
from django.db import migrations, models

def touch(apps, schema_editor):
    apps.get_model("shelves", "Shelf4").objects.filter(name="nobody").exists()

class Migration(migrations.Migration):
    dependencies = {dependencies}
    operations = [
{operations}
    ]
"""


def write(directory: Path) -> None:
    """Write the app with its first migration and all of its models."""
    migrations = directory / "shelves" / "migrations"
    migrations.mkdir(parents=True)
    (migrations.parent / "__init__.py").touch()
    (migrations / "__init__.py").touch()
    more = {
        1: "\n    room = models.IntegerField(default=1, db_index=True)",
        2: "\n    label = models.CharField(max_length=20, null=True)",
        3: "\n    size = models.IntegerField(null=True)",
    }
    numbers = range(1, TABLES + 1)
    models = "".join(_MODEL.format(number=each, more=more.get(each, "")) for each in numbers)
    (migrations.parent / "models.py").write_text(f"from django.db import models\n{models}")
    operations = "".join(_CREATED.format(number=each) for each in numbers)
    _write(migrations, "0001_initial", operations, after=None)


def deploy(directory: Path, *, code: bool) -> None:
    """Write the migrations that the fleet has to make, the last with code if asked."""
    migrations, before = directory / "shelves" / "migrations", "0001_initial"
    for name, operations in _STEPS.items():
        text = (
            operations.format(code=_CODE if code else "") if "{code}" in operations else operations
        )
        _write(migrations, name, text, after=before)
        before = name


def _write(migrations: Path, name: str, operations: str, *, after: str | None) -> None:
    dependencies = [("shelves", after)] if after else []
    text = _MIGRATION.format(dependencies=dependencies, operations=textwrap.dedent(operations))
    (migrations / f"{name}.py").write_text(text)
