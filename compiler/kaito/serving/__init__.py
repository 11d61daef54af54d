"""How Kaito's launcher and vLLM's parser read an `inference_config.yaml`."""
