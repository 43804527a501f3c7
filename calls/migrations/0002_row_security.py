from django.db import migrations

from tenants.row_security import walled


class Migration(migrations.Migration):

    dependencies = [
        ('calls', '0001_initial'),
    ]

    operations = [
        walled('meeting', 'invitation', 'call', 'participant', 'ticket'),
    ]
