from django.db import migrations

from benchmarks.diary.apart.shelves import with_notes


class Migration(migrations.Migration):
    """A column for notes in two tables."""

    dependencies = [("apart", "0008_names_1")]
    operations = with_notes(3)
