"""What a user asks of the manifests, and what of it is refused."""

from __future__ import annotations

import re

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.manifest.formats import is_dns_subdomain

ENGINES = ("trainjob", "jobset", "pytorchjob")
MAX_NODES = 1000
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_RESOURCE = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_MAX_NAME_LENGTH = 253
_MAX_LABEL_LENGTH = 63


class EmitError(KaitocError):
    """Manifests that cannot be written as asked; `str(error)` is for the user."""


@dataclass(frozen=True, slots=True)
class Rdma:
    """A device plugin's resource for InfiniBand, and how many of it each node's pod asks for."""

    resource: str
    count: int

    @classmethod
    def parse(cls, text: str) -> Rdma:
        """Parse `RESOURCE=COUNT`; raises `EmitError`."""
        resource, _, count = text.partition("=")
        if not _RESOURCE.fullmatch(resource) or not re.fullmatch(r"[1-9][0-9]{0,3}", count):
            raise EmitError(
                f"--rdma {text}: expected RESOURCE=COUNT, such as rdma/ib=8; `kubectl describe node` lists the "
                "resources of a node under Allocatable"
            )
        if "gpu" in resource.lower():
            raise EmitError(f"--rdma {text}: the GPUs are requested anyway; name the resource of the network's devices")
        return cls(resource, int(count))


@dataclass(frozen=True, slots=True)
class EmitOptions:
    """What to emit. `num_nodes` None leaves the number to the memory engine, "" means that an option is not given.

    `may_change_instance` lets it take another instance type too, where the stated prices show a cheaper one.
    """

    engine: str
    image: str
    num_nodes: int | None = 1
    queue: str = ""
    priority_class: str = ""
    results_claim: str = ""
    model_claim: str = ""
    data_claim: str = ""
    rdma: Rdma | None = None
    shard_group: int | None = None
    may_change_instance: bool = False

    def require_valid(self) -> None:
        """Raise `EmitError` for what no API server would take."""
        if not _IMAGE.fullmatch(self.image):
            raise EmitError(f"--image {self.image or '(empty)'}: not an image; examples/job/Dockerfile builds one")
        claim, label = ("a PersistentVolumeClaim", _MAX_NAME_LENGTH), ("an object", _MAX_LABEL_LENGTH)
        for option, name, (what, max_length) in (
            ("--results-claim", self.results_claim, claim),
            ("--model-claim", self.model_claim, claim),
            ("--data-claim", self.data_claim, claim),
            ("--queue", self.queue, label),
            ("--priority-class", self.priority_class, label),
        ):
            if len(name) > max_length or not is_dns_subdomain(name):
                raise EmitError(f"{option} {name}: not the name of {what}")
        if self.priority_class and not self.queue:
            raise EmitError("--priority-class is Kueue's; name the queue with --queue")
