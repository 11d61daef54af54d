"""How Kaito reads a config.

Its own parser reads a training config section by section (`arguments`, `argument_*`). Its launcher and vLLM's parser
read an `inference_config.yaml` (`vllm_*`), beside what Kaito's controller decides (`controller_arguments`, `node_*`).
"""
