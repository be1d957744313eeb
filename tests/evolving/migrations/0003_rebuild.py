from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evolving", "0002_data")]
    operations = [
        migrations.AddField(
            "shelf",
            "owner",
            models.ForeignKey(
                settings.AUTH_USER_MODEL, on_delete=models.deletion.DO_NOTHING, null=True
            ),
        ),
        migrations.AddField(
            "shelf", "readers", models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")
        ),
        # SQLite can only do this by building the table anew.
        migrations.AlterField("shelf", "name", models.CharField(max_length=50, unique=True)),
    ]
