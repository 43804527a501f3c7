from django.db import migrations

from tenants.row_security import walled


class Migration(migrations.Migration):

    dependencies = [
        ('recordings', '0002_playback'),
    ]

    operations = [
        walled('recording', 'track', 'epoch', 'artefact', 'artefact.epochs', 'viewing', 'viewing.epochs'),
    ]
