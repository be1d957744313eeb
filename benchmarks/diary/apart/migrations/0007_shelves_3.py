from django.db import migrations

from benchmarks.diary.apart.shelves import added


class Migration(migrations.Migration):
    """Four tables more."""

    dependencies = [("apart", "0006_notes_3")]
    operations = added(2)
