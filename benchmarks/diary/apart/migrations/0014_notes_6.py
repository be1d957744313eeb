from django.db import migrations

from benchmarks.diary.apart.shelves import with_notes


class Migration(migrations.Migration):
    """A column for notes in two tables."""

    dependencies = [("apart", "0013_shelves_5")]
    operations = with_notes(5)
