"""The output formats of a check, one module each."""
