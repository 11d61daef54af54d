"""The settings file as a pydantic model; `schemas/settings.json` is generated from it.

Only `settings.py` imports this, and only when there is a settings file: pydantic costs more to import than a check.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from kaitoc.compiler.job.bounds import GPU_MEMORY_GIB, MARGIN_PERCENT, SEQ_LEN_TOKENS

Selector = Annotated[
    str, Field(min_length=1, description="`ALL`, a code (`KT402`), a code prefix (`KT4`) or a rule's name.")
]
Pattern = Annotated[str, Field(min_length=1, description="A path pattern, relative to the settings file.")]
InstanceTypeName = Annotated[str, Field(min_length=1, description="An instance type, such as `p4d.24xlarge`.")]
Price = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_Severity = Literal["info", "warning", "error"]
_LevelsOrLeast = Annotated[
    Annotated[dict[Selector, Literal["off", _Severity]], Tag("[table]")] | Annotated[_Severity, Tag("[text]")],
    Discriminator(lambda value: "[table]" if isinstance(value, dict) else "[text]"),
]
"""Tags in brackets are left out of the place that an error names."""
_OneOrMore = Annotated[
    Annotated[list[str], Tag("[list]")] | Annotated[str, Tag("[text]")],
    Discriminator(lambda value: "[list]" if isinstance(value, list) else "[text]"),
]


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class SettingsModel(BaseModel):
    """The settings of kaitoc: a `kaitoc.toml`, or the table `[tool.kaitoc]` of a `pyproject.toml`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=_kebab)

    select: list[Selector] = Field(["ALL"], description="Rules to run.")
    ignore: list[Selector] = Field([], description="Rules not to run; a more specific selector in `select` wins.")
    per_path_ignores: dict[Pattern, list[Selector]] = Field(
        {}, description="Rules not to report in the files that a pattern matches."
    )
    severity: _LevelsOrLeast = Field(
        {}, description="Minimum severity to report; or, as a table, severity by rule: the most specific selector wins."
    )
    strict: bool = Field(False, description="Fail a check on warnings too.")
    format: _OneOrMore = Field([], description="Output formats of `kaitoc check`, each NAME or NAME=FILE.")
    extend_safe_fixes: list[Selector] = Field([], description="Rules whose unsafe fixes `--fix` applies too.")
    unfixable: list[Selector] = Field([], description="Rules whose fixes are shown but never applied.")
    exclude: list[Pattern] = Field([], description="Files and folders to skip when folders are searched.")
    respect_gitignore: bool = Field(True, description="Skip files that git ignores when folders are searched.")
    model: str | None = Field(None, min_length=1, description="Model of a ConfigMap without a Workspace.")
    gpu: str | None = Field(None, min_length=1, description="GPU of a job whose Workspace names none.")
    gpu_memory: float | None = Field(
        None,
        ge=GPU_MEMORY_GIB.least,
        le=GPU_MEMORY_GIB.most,
        description="Memory of one GPU in GiB, instead of `gpu`.",
    )
    kaito_version: str | None = Field(
        None, pattern=r"^v?\d+\.\d+(\.\d+)?$", description="Kaito release to check for; default the newest known."
    )
    target: Literal["kaito", "bundled"] = Field("kaito", description="Runtime that the manifests are meant for.")
    margin: float | None = Field(
        None,
        ge=MARGIN_PERCENT.least,
        le=MARGIN_PERCENT.most,
        description="Percentage of the GPU's memory that must stay free for a job to fit.",
    )
    seq_len: int | None = Field(
        None,
        ge=int(SEQ_LEN_TOKENS.least),
        le=int(SEQ_LEN_TOKENS.most),
        description="Tokens per sequence to assume (default: what the release truncates to).",
    )
    prices: dict[InstanceTypeName, Price] = Field({}, description="Price per hour in US dollars, by instance type.")
