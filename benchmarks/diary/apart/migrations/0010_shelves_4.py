from django.db import migrations

from benchmarks.diary.apart.shelves import added


class Migration(migrations.Migration):
    """Four tables more."""

    dependencies = [("apart", "0009_notes_4")]
    operations = added(3)
