import os

from tests import services

services.start()
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.project.settings"

pytest_plugins = ["tests.fixtures"]
