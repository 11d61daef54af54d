"""A Workspace whose ConfigMap is not among the given manifests, or cannot be found by its name."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault, related
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.formats import is_dns_subdomain
from kaitoc.compiler.manifest.objects import Field, Manifest
from kaitoc.compiler.manifest.training_config import DATA_KEY, ROOT_KEY
from kaitoc.compiler.yaml.tree import Mapping, Scalar, Sequence

CODE = "KT301"
NAME = "missing-config-map"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when `tuning.config` names a ConfigMap that is nowhere to be found."""
    if job.workspace is None:
        return
    field = job.workspace.field("tuning", "config")
    if field is None:
        return
    name = "" if isinstance(field.node, (Mapping, Sequence)) else field.text
    if name is None or (not name and isinstance(field.node, Scalar)):
        return
    if not name or not is_dns_subdomain(name):
        yield _no_name(field, name)
    elif job.config_map is None and not job.may_name_unknown:
        yield _not_found(job.workspace, field, name)
    elif job.config_map is not None and job.config_map.ref.name != name:
        yield _renamed(job.config_map, field, name)


def _no_name(field: Field, name: str) -> Fault:
    """Return the fault of a text that no ConfigMap can be called by."""
    is_inline = not name or "\n" in name.strip() or ":" in name
    if is_inline:
        message = "`tuning.config` takes the name of a ConfigMap, not the configuration itself"
        help_text = (
            f"put the configuration into a ConfigMap, under `data` as `{DATA_KEY}: |` and `{ROOT_KEY}:`, and name that "
            "ConfigMap here"
        )
    else:
        message = f"`{name}` cannot be the name of a ConfigMap"
        help_text = "names have lower-case letters, digits, `-` and `.`"
    message = f"{message}; Kaito finds none and refuses the Workspace"
    return Fault(field.value, message, help=help_text, severity=Severity.ERROR)


def _not_found(workspace: Manifest, field: Field, name: str) -> Fault:
    namespace = workspace.ref.namespace
    where = f" in namespace `{namespace}`" if namespace else ""
    return Fault(
        field.value,
        f"the ConfigMap `{name}`{where} is not in this file, its folder or the given paths, "
        "so the configuration was not checked",
        help="pass the file that holds it too; Kaito refuses the Workspace if the cluster does not have it either",
    )


def _renamed(config_map: Manifest, field: Field, name: str) -> Fault:
    """Return the fault of a name that kustomize has changed: it does not know that a Workspace refers to it."""
    return Fault(
        field.value,
        f"kustomize names the ConfigMap `{config_map.ref.name}` and leaves `tuning.config` as it is: Kaito finds no "
        f"ConfigMap `{name}` and refuses the Workspace",
        help="set `disableNameSuffixHash: true` under `generatorOptions`, or declare the reference to kustomize: "
        "`nameReference` with `tuning/config` in a file under `configurations`",
        related=(related("this is the ConfigMap", config_map.place),),
        severity=Severity.ERROR,
    )
