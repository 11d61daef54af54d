"""The frozen description of a run that the runtime executes."""
