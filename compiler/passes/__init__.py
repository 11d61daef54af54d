"""One module per optimisation; `PASSES` is the whole pipeline."""
