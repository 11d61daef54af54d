"""One module per pass over a server; `SERVING_PASSES` is the whole pipeline, in order."""

from __future__ import annotations

from kaitoc.compiler.passes.serving import fit_server, repair_layout, repair_server, server_instance, speed_server
from kaitoc.compiler.passes.serving.model import ServingPass

SERVING_PASSES: tuple[ServingPass, ...] = (
    repair_layout,
    repair_server,
    server_instance,
    fit_server,
    speed_server,
)
