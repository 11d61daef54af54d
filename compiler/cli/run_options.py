"""The command line of `kaitoc run` as a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaitoc.compiler.check.engine_options import EngineOptions
from kaitoc.compiler.cli.emit import EngineCommandOptions
from kaitoc.compiler.cli.option_records import AssumptionOptions
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.plan.request import PlanRequest

if TYPE_CHECKING:
    from kaitoc.compiler.job.settings import SettingsFinder


@dataclass(frozen=True, slots=True)
class RunCommandOptions:
    """The command line of `kaitoc run`."""

    path: str
    assumptions: AssumptionOptions
    workspace: str | None
    device: str
    model_path: str | None
    data: str | None
    eval_data: str | None
    output: str | None
    merge: bool
    oci_layout: bool
    samples: int
    early_stopping: int | None
    allow_pickle: bool
    hub: bool
    resume: bool
    overwrite: bool
    grace_seconds: float | None
    no_cache: bool
    dry_run: bool
    place: str
    auto_fit: bool
    num_processes: int | None
    sharding: str
    shard_group: int | None
    task: str
    report: str | None
    metrics_port: int | None
    skip_bad_rows: bool
    timeout: float | None
    wait_for_api: float
    force_conflicts: bool
    config: str | None
    isolated: bool
    engine: EngineCommandOptions

    @property
    def settings(self) -> SettingsFinder:
        """Return the finder of settings; raises `SettingsError` for --isolated with --config."""
        return EngineOptions(isolated=self.isolated, config=self.config).settings

    @property
    def request(self) -> PlanRequest:
        """Build the request for a local run from the command line."""
        return PlanRequest(
            workspace=self.workspace,
            model_path=self.model_path,
            data=self.data,
            eval_data=self.eval_data,
            output=self.output,
            merge=self.merge,
            oci_layout=self.oci_layout,
            samples=self.samples,
            early_stopping=self.early_stopping,
            allow_pickle=self.allow_pickle,
            hub=self.hub,
            skip_bad_rows=self.skip_bad_rows,
            num_processes=self.num_processes,
            sharding=self.sharding,
            shard_group=self.shard_group,
            task=self.task,
        )
