"""What a test of another admin imports, which does not apply."""

DBTaskResultAdmin = None
