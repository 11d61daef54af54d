"""Programs that execute a plan elsewhere than on this machine.

`emission` writes a TrainJob, a JobSet or a PyTorchJob, with the plan beside it, for clusters without Kaito; the other
modules apply manifests and follow their run.
"""
