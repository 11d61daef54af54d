"""The kaitoc compiler: manifests in, findings, edits and plans out."""

__version__ = "0.1.0"
