from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0002_every_job")]

    operations = [
        migrations.AlterModelOptions(name="steps", options={"verbose_name": "report"}),
    ]
