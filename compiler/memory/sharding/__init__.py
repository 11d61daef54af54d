"""How the memory of a model spreads over several GPUs: what is described here, `closed_form/sharding` derives."""
