from django.contrib import admin

from simpletask2_celery.admin import SimpleTaskAdmin

from .models import HelloTask, WorldTask

admin.site.register([HelloTask, WorldTask], SimpleTaskAdmin)
