from django.db import migrations


def in_each(apps, schema_editor):
    apps.get_model("bazaar", "Label").objects.create(name="in each user's database")


def in_default(apps, schema_editor):
    apps.get_model("bazaar", "Stand").objects.create(name="in default only")


def nothing(apps, schema_editor):
    pass


class Migration(migrations.Migration):
    dependencies = [("bazaar", "0004_sql")]
    operations = [
        migrations.RunPython(in_each, nothing, hints={"user_databases": True}),
        migrations.RunPython(in_default, nothing, hints={"user_databases": False}),
        migrations.RunSQL(
            "INSERT INTO bazaar_label (name) VALUES ('by sql')",
            "DELETE FROM bazaar_label",
            hints={"user_databases": True},
        ),
        migrations.RunSQL(
            "INSERT INTO bazaar_stand (name) VALUES ('by sql')",
            "DELETE FROM bazaar_stand WHERE name = 'by sql'",
            hints={"user_databases": False},
        ),
    ]
