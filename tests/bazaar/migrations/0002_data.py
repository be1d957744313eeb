from django.db import migrations


def name(apps, schema_editor):
    stall, offer = apps.get_model("bazaar", "Stall"), apps.get_model("bazaar", "Offer")
    # Each of these is how some app does it: by the router, or by the alias that Django hands over.
    stall.objects.create(name=f"opened as number {stall.objects.count()}")
    for each in offer.objects.using(schema_editor.connection.alias).select_related("stall"):
        each.title = f"{each.title} of {each.owner.username} at {each.stall.name}"
        each.save()


class Migration(migrations.Migration):
    dependencies = [("bazaar", "0001_initial")]
    operations = [migrations.RunPython(name, migrations.RunPython.noop)]
