"""Writes the generated schemas; not part of an installation."""
