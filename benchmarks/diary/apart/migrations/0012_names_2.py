from django.db import migrations

from benchmarks.diary.apart.shelves import with_longer_names


class Migration(migrations.Migration):
    """Longer names in two tables."""

    dependencies = [("apart", "0011_notes_5")]
    operations = with_longer_names(1)
