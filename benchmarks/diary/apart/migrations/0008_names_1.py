from django.db import migrations

from benchmarks.diary.apart.shelves import with_longer_names


class Migration(migrations.Migration):
    """Longer names in two tables."""

    dependencies = [("apart", "0007_shelves_3")]
    operations = with_longer_names(0)
