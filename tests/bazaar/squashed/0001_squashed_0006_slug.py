from importlib import import_module

from django.db import migrations

NAMES = ["0001_initial", "0002_data", "0003_rename", "0004_sql", "0005_hints", "0006_slug"]
HISTORY = [import_module(f"tests.bazaar.migrations.{name}").Migration for name in NAMES]


class Migration(migrations.Migration):
    initial = True
    replaces = [("bazaar", name) for name in NAMES]
    dependencies = [key for key in HISTORY[0].dependencies if key[0] != "bazaar"]
    operations = [operation for each in HISTORY for operation in each.operations]
