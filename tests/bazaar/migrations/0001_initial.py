from django.conf import settings
from django.db import migrations, models

KEY = models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


class Migration(migrations.Migration):
    initial = True
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [
        migrations.CreateModel(
            "Stall", fields=[("id", KEY), ("name", models.CharField(max_length=50))]
        ),
        migrations.CreateModel(
            "Label", fields=[("id", KEY), ("name", models.CharField(max_length=50))]
        ),
        migrations.CreateModel(
            "Offer",
            fields=[
                ("id", KEY),
                (
                    "owner",
                    models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE),
                ),
                ("stall", models.ForeignKey("bazaar.Stall", on_delete=models.CASCADE)),
                ("title", models.CharField(max_length=100)),
            ],
        ),
    ]
