"""Where the pods find model, data and results: claims of the options, else those of the Workspace."""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.engines.emit_options import EmitError, EmitOptions
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.objects import Manifest

MODEL_PATH = "/mnt/model"
DATA_PATH = "/mnt/data"
RESULTS_PATH = "/mnt/results"


@dataclass(frozen=True, slots=True)
class Storage:
    """Names of PersistentVolumeClaims; `data_claim` is empty where the data is downloaded."""

    model_claim: str
    data_claim: str
    results_claim: str


def storage_of(job: Job, options: EmitOptions) -> Storage:
    """Return the claims of a job; raises `EmitError` for what a pod without Kaito cannot reach."""
    workspace = job.workspace
    if workspace is None:
        raise EmitError("no Workspace found; --emit reads the instance type and the data from it")
    if not options.model_claim:
        raise EmitError(
            f"--emit needs --model-claim: Kaito's image holds the weights, `{options.image}` does not; name a claim "
            "with the model's folder (ReadOnlyMany)"
        )
    return Storage(options.model_claim, _data_claim(workspace, options), _results_claim(workspace, options))


def _data_claim(workspace: Manifest, options: EmitOptions) -> str:
    if options.data_claim:
        return options.data_claim
    if workspace.field("tuning", "input", "image") is not None:
        raise EmitError(
            "only Kaito reads `input.image`; copy the data into a volume and name its claim with --data-claim"
        )
    claim = _claim(workspace, "input")
    if not claim and not workspace.fields("tuning", "input", "urls"):
        raise EmitError("the Workspace's `input` names neither URLs nor a claim; name one with --data-claim")
    return claim


def _results_claim(workspace: Manifest, options: EmitOptions) -> str:
    if options.results_claim:
        return options.results_claim
    claim = _claim(workspace, "output")
    if claim:
        return claim
    if workspace.field("tuning", "output", "image") is not None:
        raise EmitError(
            "only Kaito pushes `output.image`; name a ReadWriteMany claim with --results-claim, and push the adapter "
            "from there"
        )
    raise EmitError("the Workspace's `output` names no claim; name a ReadWriteMany one with --results-claim")


def _claim(workspace: Manifest, part: str) -> str:
    for volume in ("volumeSource", "volume"):  # v1beta1's name, and v1alpha1's
        field = workspace.field("tuning", part, volume, "persistentVolumeClaim", "claimName")
        if field is not None:
            return field.text or ""
    return ""
