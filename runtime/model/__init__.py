"""Loading, quantizing and sharding the model."""
