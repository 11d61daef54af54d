"""An address of node 0 that does not exist."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun, training_group
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import JOB_SET, NODE, RUNTIMES, job_set_of

CODE = "KT808"
NAME = "unreachable-main-process"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield what makes the host name of node 0 another one than the pods are told."""
    pods_of, group = run.pods_of, training_group(run)
    job_set = job_set_of(pods_of) if pods_of is not None else None
    if pods_of is None or group is None or job_set is None or not run.may_have_peers:
        return
    subdomain, names = (job_set.given("network", name) for name in ("subdomain", "enableDNSHostnames"))
    if names is not None and (names.text or "").lower() == "false":
        yield Fault(
            names.value,
            "without host names node 0 has no address: the nodes cannot connect",
            help="remove `enableDNSHostnames`",
        )
    if pods_of.ref.kind in RUNTIMES:
        named = group.holder.given("name")
        if named is not None and group.name != NODE:
            yield Fault(
                named.value,
                f"Trainer tells all nodes that node 0 is `<job>-{NODE}-0-0.<job>`, but this one will be "
                f"`<job>-{group.name}-0-0.<job>`: they cannot connect",
                help=f"write `name: {NODE}`",
            )
        if subdomain is not None:
            yield Fault(
                subdomain.value,
                "all nodes get the address `<job>-node-0-0.<job>` from Trainer: another subdomain breaks it",
                help="remove `subdomain`",
            )
    elif run.kind == JOB_SET:
        yield from _of_job_set(run, group.name, subdomain.text if subdomain is not None else None)


def _of_job_set(run: ClusterRun, job: str, subdomain: str | None) -> Iterator[Fault]:
    group, name = training_group(run), run.manifest.text("metadata", "name")
    stated = group.value_of("PET_MASTER_ADDR") if group is not None else None
    if stated is None or not name:
        return
    address = f"{name}-{job}-0-0.{subdomain or name}"
    if not f"{stated.text}.".startswith(f"{address}."):
        message = f"node 0 will be `{address}`, but the nodes are given `{stated.text}`: they cannot connect"
        yield Fault(stated.value, message, help=f"write `{address}`")
