from django.db import migrations

from tenants.row_security import walled


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0001_initial'),
    ]

    operations = [
        walled('logentry', 'loghead', 'hold'),
    ]
