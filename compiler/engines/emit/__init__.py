"""Manifests that run a plan without Kaito: a TrainJob, a JobSet or a PyTorchJob, with the plan beside it."""
