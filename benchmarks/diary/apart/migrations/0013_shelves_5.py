from django.db import migrations

from benchmarks.diary.apart.shelves import added


class Migration(migrations.Migration):
    """Four tables more."""

    dependencies = [("apart", "0012_names_2")]
    operations = added(4)
