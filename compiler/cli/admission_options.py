"""The options that `kaitoc admit` and `kaitoc webhook` share."""

from __future__ import annotations

import click

from kaitoc.compiler.admission.policy import PolicyOptions
from kaitoc.compiler.cli.option_records import JudgingOptions
from kaitoc.compiler.cli.options import F, judging_options
from kaitoc.compiler.core.records import dataclass


@dataclass(frozen=True, slots=True)
class AdmissionOptions:
    """How objects are judged."""

    judging: JudgingOptions
    strict: bool
    allow_suppressions: bool

    @property
    def policy(self) -> PolicyOptions:
        """Build the admission policy's options from the command line."""
        return PolicyOptions(self.judging.engine, self.strict, self.allow_suppressions)


def admission_options(command: F) -> F:
    """Add the options of `AdmissionOptions`."""
    command = click.option(
        "--allow-suppressions", is_flag=True, help="Allow comments in an object to suppress errors."
    )(command)
    command = click.option("--strict", is_flag=True, help="Deny on warnings too.")(command)
    return judging_options(command)
