"""A review of the API server in, an answer out."""
