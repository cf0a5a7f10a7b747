# Written by makemigrations for models.py on django-simpletask2 0.1.12: never edit it.

from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='HelloTask',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('add_time', models.DateTimeField(auto_now_add=True, verbose_name='Add Time')),
                ('mod_time', models.DateTimeField(auto_now=True, verbose_name='Modify Time')),
                ('status', models.IntegerField(choices=[(10, 'Ready'), (20, 'Doing'), (30, 'Done')], default=10, editable=False, verbose_name='Status')),
                ('start_time', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='Start Time')),
                ('current_step', models.IntegerField(blank=True, editable=False, null=True, verbose_name='Current Step')),
                ('step1_time', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='Step1 start time')),
                ('step2_time', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='Step2 start time')),
                ('step3_time', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='Step3 start time')),
                ('done_time', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='Done Time')),
                ('success', models.BooleanField(editable=False, null=True, verbose_name='Success Status')),
                ('auto_reset_time', models.DateTimeField(blank=True, editable=False, help_text='After which time the task should be reset.', null=True, verbose_name='Auto Reset Time')),
                ('name', models.CharField(max_length=64)),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='WorldTask',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('add_time', models.DateTimeField(auto_now_add=True, verbose_name='Add Time')),
                ('mod_time', models.DateTimeField(auto_now=True, verbose_name='Modify Time')),
                ('status', models.IntegerField(choices=[(10, 'Ready'), (20, 'Doing'), (30, 'Done')], default=10, editable=False, verbose_name='Status')),
                ('start_time', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='Start Time')),
                ('current_step', models.IntegerField(blank=True, editable=False, null=True, verbose_name='Current Step')),
                ('step1_time', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='Step1 start time')),
                ('step2_time', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='Step2 start time')),
                ('step3_time', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='Step3 start time')),
                ('done_time', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='Done Time')),
                ('success', models.BooleanField(editable=False, null=True, verbose_name='Success Status')),
                ('auto_reset_time', models.DateTimeField(blank=True, editable=False, help_text='After which time the task should be reset.', null=True, verbose_name='Auto Reset Time')),
                ('url', models.CharField(max_length=128)),
                ('content', models.TextField(blank=True, null=True)),
            ],
            options={
                'abstract': False,
            },
        ),
    ]
