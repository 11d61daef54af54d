"""Whether the instance type of a job is there at all: what is predicted for a node that cannot be is only noise."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import InstanceType, find_instance_type, suggest_gpus
from kaitoc.compiler.catalog.instance_listing import is_removed, listed_instance_type
from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job, Target
from kaitoc.compiler.manifest.objects import Place
from kaitoc.rules._fixes import respelling


def has_removed_gpu(job: Job) -> bool:
    """Return whether a job's GPU is that of an instance type which its release no longer lists (KT320 says so)."""
    stated = job.instance_type
    if job.target is Target.BUNDLED or stated is None or job.gpu is None or job.gpu.place is None:
        return False
    instance = find_instance_type(stated.value)
    return instance is not None and is_removed(instance, job.release)


def unlisted(name: str, place: Place, release: Release, effect: str) -> Fault | None:
    """Return the fault of a name that a release does not list, with what comes of it; None for one that it lists."""
    if listed_instance_type(name, release) is not None:
        return None
    instance = find_instance_type(name)
    if instance is None:
        close = suggest_gpus(name)
        help_text = f"did you mean `{close[0]}`?" if close else ""
        return Fault(place, f"Kaito does not list the instance type `{name}`; {effect}", help=help_text)
    if is_removed(instance, release):
        return Fault(
            place,
            f"Kaito {release.name} no longer lists `{instance.name}` ({instance.gpu_model}); {effect}",
            help=f"the last release that does is {instance.last_release}",
        )
    return Fault(
        place,
        f"Kaito {release.name} lists the instance type `{instance.name}`, not {_quoted(name)}; {effect}",
        help=f"write `{instance.name}`",
        fix=respelling(place, instance.name),
    )


def without_nvidia(instance: InstanceType, place: Place, pod: str) -> Fault | None:
    """Return the fault of an accelerator that is not NVIDIA's, on which `pod` never runs; None for a GPU that is."""
    if instance.gpu is not None:
        return None
    return Fault(
        place,
        f"`{instance.name}` has {instance.gpu_model}; {pod} asks for nvidia.com/gpu and is never scheduled",
        help="use an instance type with an NVIDIA GPU; an idle node costs as much as a busy one",
    )


def _quoted(name: str) -> str:
    """Show where white space begins and ends."""
    return f"`{name}`" if name == name.strip() else f'"{name}"'
