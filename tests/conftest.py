"""What holds for the whole suite."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
"""No test is a measurement of time: the machine may be busy with something else."""
