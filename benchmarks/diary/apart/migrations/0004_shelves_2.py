from django.db import migrations

from benchmarks.diary.apart.shelves import added


class Migration(migrations.Migration):
    """Four tables more."""

    dependencies = [("apart", "0003_notes_1")]
    operations = added(1)
