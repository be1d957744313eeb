from django.db import migrations


def add_courses(apps, schema_editor):
    Course = apps.get_model("recipes", "Course")
    for name in ("starter", "main course", "dessert"):
        Course.objects.create(name=name)


class Migration(migrations.Migration):
    dependencies = [("recipes", "0001_initial")]

    operations = [migrations.RunPython(add_courses, migrations.RunPython.noop)]
