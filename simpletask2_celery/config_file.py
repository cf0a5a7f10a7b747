"""The YAML file of django-simpletask2-server, under the name that users import it by."""

from .legacy.config_file import ConfigFileError, load

__all__ = ["ConfigFileError", "load"]
