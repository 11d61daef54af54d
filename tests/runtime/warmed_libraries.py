"""Has the libraries do once what each process does first: before it loads a model, transformers compiles 900 patterns.

Imported by the process that others are forked from, which is started in the root of the repository.
"""

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

get_checkpoint_conversion_mapping("phi3")
