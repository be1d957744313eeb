from django.conf import settings
from django.db import migrations, models


def with_real_models(apps, schema_editor):
    from tests.bazaar.models import Stand, Ware

    Ware.objects.values("pk").update(slug="real")
    Stand.objects.filter(name="by sql").delete()


class Migration(migrations.Migration):
    dependencies = [
        ("bazaar", "0005_hints"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE bazaar_ware ADD COLUMN slug varchar(20) NOT NULL DEFAULT ''",
                    "ALTER TABLE bazaar_ware DROP COLUMN slug",
                )
            ],
            state_operations=[
                migrations.AddField("Ware", "slug", models.CharField(max_length=20, default=""))
            ],
        ),
        migrations.AddField(
            "Ware",
            "helper",
            models.ForeignKey(
                settings.AUTH_USER_MODEL,
                null=True,
                on_delete=models.SET_NULL,
                related_name="helped",
            ),
        ),
        migrations.AddField(
            "Label",
            "content_type",
            models.ForeignKey("contenttypes.ContentType", null=True, on_delete=models.CASCADE),
        ),
        migrations.AddField("Label", "object_id", models.PositiveIntegerField(null=True)),
        migrations.RunPython(with_real_models, migrations.RunPython.noop),
    ]
