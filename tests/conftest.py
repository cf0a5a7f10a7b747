import os

import django

from tests import services

services.start()
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.project.settings"
django.setup()

pytest_plugins = ["tests.fixtures", "tests.sites", "tests.browser"]
