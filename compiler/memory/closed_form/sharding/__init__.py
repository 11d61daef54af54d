"""The memory of one process of several that share a model: FSDP of both generations, and ZeRO-3."""
