"""One run, resolved: its Workspace, ConfigMap, model, GPU and Kaito release, and what it needs."""
