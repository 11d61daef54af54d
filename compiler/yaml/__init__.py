"""YAML with spans in the outer file, also for YAML inside a scalar."""
