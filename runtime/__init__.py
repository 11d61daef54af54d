"""The bundled runtime: executes a plan with transformers, peft and trl."""
