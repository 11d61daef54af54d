"""JSON Schemas and catalogs, shipped as package data."""
