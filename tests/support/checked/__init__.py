"""Models of which each has something that a check reports, or nothing: see ``__main__``."""
