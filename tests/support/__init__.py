"""What the rings share: servers, fixtures, the tests' Django project, processes."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
ALIASES = ["default", "server"]  # of the project's databases: SQLite, and a server
