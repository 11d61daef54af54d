"""What Kaito's webhook says of a server's preset, selector, GPU slices and replicas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kaitoc.compiler.catalog.admission import Admission, admission_of
from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.core.findings import Fix
from kaitoc.compiler.core.wording import did_you_mean
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.hub_name import is_repository_name
from kaitoc.compiler.manifest.object_schemas import INFERENCE_SET
from kaitoc.compiler.manifest.objects import Field, Manifest, unescape_pointer
from kaitoc.compiler.manifest.serving_objects import ServingView, mappings_in
from kaitoc.rules._fixes import respelling

REFUSES = "Kaito's webhook refuses the Workspace"


def preset_faults(job: ServingJob, view: ServingView) -> Iterator[Fault]:
    """Yield a preset that the release does not serve."""
    field, known = view.preset, admission_of(job.release)
    name = field.text if field is not None else None
    if field is None or not name:
        return
    if not known.takes_preset(name):
        message = f"Kaito {job.release} has no preset `{name}`; {REFUSES}"
        yield Fault(field.value, message, help=_preset_help(name, known), fix=_spelling(field, name, known))
    elif "/" in name and not is_repository_name(name):
        message = f"`{name}` is not the id of a model on the Hugging Face Hub; {REFUSES}"
        yield Fault(field.value, message, help="write the owner and the name, such as microsoft/phi-4")


def _spelling(field: Field, name: str, known: Admission) -> Fix | None:
    """Write a preset's name as it is known, where letters' case or the white space around it alone differ."""
    meant = name.strip().lower()
    return respelling(field.value, meant) if meant in known.presets else None


def _preset_help(name: str, known: Admission) -> str:
    from difflib import get_close_matches

    if "/" in name:
        return "this release serves its own presets only; `kaitoc models` lists them"
    last = next((one.name for one in reversed(all_releases()) if name in admission_of(one.name).presets), "")
    if last:
        return f"the last release that does is {last}"
    meant = name.strip().lower()
    close = [meant] if meant in known.presets else get_close_matches(meant, known.presets, n=1, cutoff=0.6)
    hub = "write the id of a model on the Hugging Face Hub, such as microsoft/phi-4" if known.takes_hub_ids else ""
    return f"did you mean `{close[0]}`?" if close else hub


def selector_faults(job: ServingJob, view: ServingView) -> Iterator[Fault]:
    """Yield what of a label selector cannot be written as labels, and a selector that is left with none."""
    selector = view.selector
    if selector is None:
        return
    for expression in mappings_in(selector, "matchExpressions"):
        yield from _expression_faults(expression)
    labels = selector.fields("matchLabels")
    reserved = admission_of(job.release).reserved_labels
    names = [unescape_pointer(label.pointer.rpartition("/")[2]) for label in labels]
    if names and all(name in reserved for name in names):
        message = f"Kaito keeps the label `{names[0]}` to itself, and no other is left; {REFUSES}"
        yield Fault(labels[0].key, message, help="write a label of your own, such as `apps: NAME`")


def _expression_faults(expression: Manifest) -> Iterator[Fault]:
    operator = expression.given("operator")
    if operator is None:
        return
    num_values = len(expression.fields("values")) if expression.given("values") is not None else 0
    if operator.text in ("NotIn", "Exists", "DoesNotExist"):
        what = f"`{operator.text}`"
    elif operator.text == "In" and num_values != 1:
        what = f"`In` with {num_values} values"
    else:
        return
    message = f"{what} cannot be written as a label, which Kaito puts on its nodes; {REFUSES}"
    yield Fault(operator.value, message, help="write the label under `matchLabels`")


def partition_faults(job: ServingJob, view: ServingView) -> Iterator[Fault]:
    """Yield a part of a GPU that is asked of nodes which Kaito makes, or that is not whole for its mode."""
    resource = view.resource
    partition = resource.given("partition") if resource is not None else None
    if resource is None or partition is None:
        return
    if resource.text("instanceType"):
        message = f"a part of a GPU is served only on nodes that you bring yourself, without `instanceType`; {REFUSES}"
        yield Fault(partition.key, message, help="remove `instanceType`, or `partition`")
        return
    profile, count = resource.given("partition", "profile"), resource.given("partition", "count")
    profiles = admission_of(job.release).mig_profiles
    if resource.text("partition", "mode") == "mig":
        if profile is None or not profile.text:
            yield Fault(partition.key, f"a slice needs `profile`; {REFUSES}", help="write one such as 3g.40gb")
        elif profiles and profile.text not in profiles:
            yield _unknown_profile(profile, profiles)
        if count is not None:
            message = f"`count` applies to whole GPUs only (`mode: accelerator`); {REFUSES}"
            yield Fault(count.key, message, help="remove `count`")
    elif resource.text("partition", "mode") == "accelerator":
        if count is None:
            yield Fault(partition.key, f"whole GPUs need `count`; {REFUSES}", help="write how many GPUs a pod gets")
        if profile is not None and profile.text:
            yield Fault(
                profile.key, f"`profile` applies to slices only (`mode: mig`); {REFUSES}", help="remove `profile`"
            )


def _unknown_profile(profile: Field, profiles: Sequence[str]) -> Fault:
    from difflib import get_close_matches

    close = get_close_matches(profile.text or "", profiles, n=3)
    help_text = did_you_mean(close).removeprefix("; ") or "write one such as 3g.40gb"
    return Fault(profile.value, f"Kaito knows no MIG profile `{profile.text}`; {REFUSES}", help=help_text)


def replica_faults(job: ServingJob, view: ServingView) -> Iterator[Fault]:
    """Yield numbers of replicas that the webhook of an InferenceSet does not take."""
    if view.owner.ref.kind != INFERENCE_SET:
        return
    field, least = view.owner.given("spec", "replicas"), admission_of(job.release).min_replicas
    if field is not None and field.text == "0" and least > 0:
        message = f"Kaito {job.release}'s webhook refuses an InferenceSet without replicas"
        yield Fault(field.value, message, help=f"write {least} or more")
