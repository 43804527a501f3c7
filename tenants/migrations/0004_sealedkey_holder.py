from django.db import migrations, models


class Migration(migrations.Migration):
    """Every key that is sealed so far belongs to a stored object of a recording."""

    dependencies = [
        ("tenants", "0003_sealedkey_tenantkey"),
    ]

    operations = [
        migrations.AddField(
            model_name="sealedkey",
            name="holder",
            field=models.CharField(default="artefact", max_length=12),
            preserve_default=False,
        ),
    ]
