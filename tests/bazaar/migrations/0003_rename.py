from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("bazaar", "0002_data")]
    operations = [
        migrations.RenameModel("Stall", "Stand"),
        migrations.RenameModel("Offer", "Ware"),
        migrations.RenameField("Ware", "stall", "stand"),
    ]
