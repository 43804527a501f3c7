from django.db import migrations

from tenants.row_security import walled


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0004_sealedkey_holder'),
    ]

    operations = [
        walled('person'),
    ]
