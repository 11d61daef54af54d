"""Loading, quantising and sharding the model."""
