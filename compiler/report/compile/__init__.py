"""The reports of a compilation."""
