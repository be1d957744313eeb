from django.db import migrations


def fill(apps, schema_editor):
    # Without an alias: whose database it is must be clear from who is active.
    apps.get_model("evolving", "Shelf").objects.create(name="from python")


def empty(apps, schema_editor):
    apps.get_model("evolving", "Shelf").objects.filter(name="from python").delete()


class Migration(migrations.Migration):
    dependencies = [("evolving", "0001_initial")]
    operations = [
        migrations.RunPython(fill, empty),
        migrations.RunSQL(
            "INSERT INTO evolving_shelf (name) VALUES ('from sql')",
            "DELETE FROM evolving_shelf WHERE name = 'from sql'",
        ),
    ]
