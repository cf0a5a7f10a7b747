"""What a test of names looks at, which does not apply."""
