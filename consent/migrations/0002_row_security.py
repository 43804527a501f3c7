from django.db import migrations

from tenants.row_security import walled


class Migration(migrations.Migration):

    dependencies = [
        ('consent', '0001_initial'),
    ]

    operations = [
        walled('purpose', 'notice', 'servednotice', 'decision'),
    ]
