"""One module per pass; `PASSES` is the whole pipeline, in order.

A pass yields the changes it would make to a job. The driver (`kaitoc.compiler.compile`) applies the first one, reads
the text again, and asks again, until no pass has anything to say.
"""

from __future__ import annotations

from kaitoc.compiler.passes import repair_targets
from kaitoc.compiler.passes.model import Pass

PASSES: tuple[Pass, ...] = (repair_targets,)
