from django.db import migrations

FRESH = """
    UPDATE bazaar_ware SET title = %s || title
    WHERE stand_id IN (SELECT id FROM bazaar_stand WHERE name LIKE 'FISH%%')
"""


class Migration(migrations.Migration):
    dependencies = [("bazaar", "0003_rename")]
    operations = [
        migrations.RunSQL("UPDATE bazaar_ware SET title = title || '.'", migrations.RunSQL.noop),
        migrations.RunSQL(["UPDATE bazaar_stand SET name = upper(name)"], migrations.RunSQL.noop),
        migrations.RunSQL(
            [
                (
                    FRESH,
                    ["fresh: "],
                )
            ],
            migrations.RunSQL.noop,
        ),
    ]
