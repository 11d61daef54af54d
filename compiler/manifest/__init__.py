"""Kubernetes objects and the document inside a ConfigMap."""
