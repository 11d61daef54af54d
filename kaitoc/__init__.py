"""The compiler for Kaito: checks, optimizes and runs fine-tuning manifests.

    report = kaitoc.check("tuning.yaml")
    print(report)

Functions: `check`, `compile`, `estimate`, `plan`, `run`, `admit`, `render`, `architecture`, `load_settings`. They print
nothing, never exit, and write nothing but the results of `run`. What a caller can put right they raise as a
`KaitocError`, with a class for each kind of fault. docs/api.md describes all of it.

Nothing is loaded before it is used: the command line imports this module too.
"""

TYPE_CHECKING = False  # as `typing` has it, which would have to be imported
if TYPE_CHECKING:
    from kaitoc.admitting import admit as admit
    from kaitoc.checking import check as check
    from kaitoc.compiler import __version__ as __version__
    from kaitoc.compiler.admission.review import Answer as Answer
    from kaitoc.compiler.admission.review import ReviewError as ReviewError
    from kaitoc.compiler.check.baseline import BaselineError as BaselineError
    from kaitoc.compiler.check.changed_files import GitError as GitError
    from kaitoc.compiler.compile.model import Compilation as Compilation
    from kaitoc.compiler.compile.model import CompileError as CompileError
    from kaitoc.compiler.core.errors import KaitocError as KaitocError
    from kaitoc.compiler.core.findings import Finding as Finding
    from kaitoc.compiler.core.source import SourceError as SourceError
    from kaitoc.compiler.job.assumptions import AssumptionError as AssumptionError
    from kaitoc.compiler.job.assumptions import Overrides as Overrides
    from kaitoc.compiler.job.settings import Settings as Settings
    from kaitoc.compiler.job.settings import SettingsError as SettingsError
    from kaitoc.compiler.job.settings import load_settings as load_settings
    from kaitoc.compiler.job.summary import JobSummary as JobSummary
    from kaitoc.compiler.memory.estimate import EstimateError as EstimateError
    from kaitoc.compiler.memory.estimate import FineTune as FineTune
    from kaitoc.compiler.plan.plan import Plan as Plan
    from kaitoc.compiler.plan.plan import PlanError as PlanError
    from kaitoc.compiler.plan.request import RunError as RunError
    from kaitoc.compiler.report.model import Report as Report
    from kaitoc.compiling import compile as compile  # noqa: A004  # what the command is called
    from kaitoc.estimating import Estimate as Estimate
    from kaitoc.estimating import architecture as architecture
    from kaitoc.estimating import estimate as estimate
    from kaitoc.rendering import render as render
    from kaitoc.running import plan as plan
    from kaitoc.running import run as run
    from kaitoc.runtime.failures import RunFailure as RunFailure
    from kaitoc.runtime.observe.report import RunReport as RunReport

_MODULES = {
    "__version__": "compiler",
    "Answer": "compiler.admission.review",
    "AssumptionError": "compiler.job.assumptions",
    "BaselineError": "compiler.check.baseline",
    "Compilation": "compiler.compile.model",
    "CompileError": "compiler.compile.model",
    "Estimate": "estimating",
    "EstimateError": "compiler.memory.estimate",
    "FineTune": "compiler.memory.estimate",
    "Finding": "compiler.core.findings",
    "GitError": "compiler.check.changed_files",
    "JobSummary": "compiler.job.summary",
    "KaitocError": "compiler.core.errors",
    "Overrides": "compiler.job.assumptions",
    "Plan": "compiler.plan.plan",
    "PlanError": "compiler.plan.plan",
    "Report": "compiler.report.model",
    "ReviewError": "compiler.admission.review",
    "RunError": "compiler.plan.request",
    "RunFailure": "runtime.failures",
    "RunReport": "runtime.observe.report",
    "Settings": "compiler.job.settings",
    "SettingsError": "compiler.job.settings",
    "SourceError": "compiler.core.source",
    "admit": "admitting",
    "architecture": "estimating",
    "check": "checking",
    "compile": "compiling",
    "estimate": "estimating",
    "load_settings": "compiler.job.settings",
    "plan": "running",
    "render": "rendering",
    "run": "running",
}
"""Where each public name is defined, below this package."""

__all__ = list(_MODULES)  # the names are those of the table


def __getattr__(name: str) -> object:
    """Load a public name when it is first used."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'kaitoc' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"kaitoc.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names besides those that are loaded."""
    return sorted({*globals(), *_MODULES})
