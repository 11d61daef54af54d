"""The command line of `kaitoc estimate` as a record, and the fine-tune or the servers that it describes."""

from __future__ import annotations

from typing import Any

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.check.engine_options import EngineOptions
from kaitoc.compiler.cli.estimate_rows import RowOptions
from kaitoc.compiler.cli.estimate_serving import SOLVABLE, ServingOptions, ServingRequest
from kaitoc.compiler.cli.estimate_training import TrainingOptions
from kaitoc.compiler.cli.option_records import SharingOptions, first_given
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.job.assumptions import Overrides, resolve_assumptions
from kaitoc.compiler.job.prices import parse_price
from kaitoc.compiler.job.settings import Settings, SettingsFinder
from kaitoc.compiler.memory.estimate import EstimateError, FineTune
from kaitoc.compiler.memory.row_lengths import RowLengths
from kaitoc.compiler.memory.stacks import BUNDLED

_SERVE = "serve"


@dataclass(frozen=True, slots=True)
class EstimateOptions:
    """All options of `kaitoc estimate`, with the conversions to requests."""

    paths: tuple[str, ...]
    model: str | None
    model_config: str | None
    task: str
    training: TrainingOptions
    sharing: SharingOptions
    stack: str | None
    kaito_version: str | None
    target: str | None
    gpu: str | None
    gpu_memory: float | None
    margin: float | None
    rows: RowOptions
    phase: bool
    use_trace: bool
    sweep: str | None
    solve: str | None
    samples: int | None
    prices: tuple[str, ...]
    plot: str | None
    format_name: str
    strict: bool
    config: str | None
    isolated: bool
    serving: ServingOptions

    @property
    def settings(self) -> SettingsFinder:
        """Return the finder of manifests' settings; raises `SettingsError` for options that contradict each other."""
        return EngineOptions(isolated=self.isolated, config=self.config).settings

    @property
    def overrides(self) -> Overrides:
        """Collect the options that override manifests; raises `DataLengthError` for data without a length.

        Raises `EstimateError` for options that describe a run in place of manifests.
        """
        if self.paths and self.task != _SERVE:
            self._require_of_manifests()
        stated = Overrides(
            model=self.model,
            gpu=self.gpu,
            gpu_memory_gib=self.gpu_memory,
            kaito_version=self.kaito_version,
            target=self.target,
            seq_len_tokens=self.training.seq_len,
            rows=self.rows.stated if self.paths else None,
            margin_percent=self.margin,
            prices=tuple(parse_price(text) for text in self.prices),
        )
        return self.sharing.over(stated)

    def fine_tune(self, model: Architecture, rows: RowLengths | None) -> FineTune:
        """Return the fine-tune that is described without a manifest; raises `AssumptionError` and `LengthsError`."""
        seq_len_tokens = self.training.seq_len
        given: dict[str, Any] = {
            "seq_len_tokens": self.rows.longest_tokens(rows, seq_len_tokens) if rows is not None else seq_len_tokens,
            "num_gpus": self.sharing.gpus,
            "batching": self.rows.batching,
            "holds_outputs": self.rows.holds_outputs or None,
            "runs_bundled": self.target == "bundled" or None,
        }
        stated = {name: value for name, value in given.items() if value is not None}
        chosen = FineTune(model, self._stack_name(), task=self.task, sharing=self.sharing.request)
        return replace(chosen, **self.training.stated, **stated)

    def servers(self) -> ServingRequest:
        """Return the options of servers; raises `EstimateError` for an option that does not apply to them, by name."""
        option = self._tuning_option
        if option is not None:
            raise EstimateError(f"{option} applies to a fine-tune only; remove it, or --task serve")
        return ServingRequest(
            self.paths, self.model, self.model_config, self.sharing.gpus, self.overrides, self.settings, self.serving,
            self.solve, self.format_name, self.strict,
        )  # fmt: skip

    @property
    def _tuning_option(self) -> str | None:
        """Return the first option given that means nothing for a server, None where there is none."""
        alone = {
            "--stack": self.stack, "--target": self.target, "--sweep": self.sweep, "--plot": self.plot,
            "--samples": self.samples, "--trace": self.use_trace or None, "--phase": self.phase or None,
            "--price": self.prices or None,
            f"--solve {self.solve}": self.solve if self.solve not in (None, *SOLVABLE) else None,
        }  # fmt: skip
        return (
            first_given(self.training, TrainingOptions())
            or first_given(self.rows, RowOptions())
            or first_given(self.sharing, SharingOptions(gpus=self.sharing.gpus))
            or next((name for name, value in alone.items() if value is not None), None)
        )

    def _stack_name(self) -> str:
        if (self.target == "bundled" or self.task != "sft") and not self.stack:
            return BUNDLED
        if self.stack or self.kaito_version is None:
            return self.stack or ""
        return f"kaito-{resolve_assumptions(Overrides(kaito_version=self.kaito_version), Settings()).release.name}"

    def _require_of_manifests(self) -> None:
        self.rows.require_of_manifests()
        others = {"--stack": self.stack, "--model-config": self.model_config}
        option = self.training.describing or next((name for name, value in others.items() if value is not None), None)
        if option is not None:
            raise EstimateError(f"{option} cannot be combined with manifests: remove the option or the paths")
