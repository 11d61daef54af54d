"""Follows a run on a cluster to its end: tells what is new once, streams logs, waits for an absent API server."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.redaction import redacted_text
from kaitoc.compiler.engines.kubectl import EXIT_INTERRUPTED, AwayError, ClusterError, Kubectl, RefusedError


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """How long to follow a run, and how long to wait for an API server that is away. None is without a bound."""

    timeout_seconds: float | None = None
    wait_for_api_seconds: float = 600.0
    poll_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class LogSource:
    """A container whose log is worth streaming."""

    pod: str
    container: str


@dataclass(frozen=True, slots=True)
class Observation:
    """How a run stands: `states` are told when they are new under their key, `logs` are streamed.

    `outcome` is "" for a run that succeeded, a reason for one that failed, None for one that goes on.
    """

    states: Sequence[tuple[str, str]] = ()
    logs: Sequence[LogSource] = ()
    outcome: str | None = None


class Engine(Protocol):
    """One way to run a plan on a cluster: Kaito, or a Kubeflow object."""

    name: str
    stop_command: str

    def observe(self) -> Observation:
        """Query the run's state from the API server; raises `ClusterError`."""
        ...


class LeftRunningError(ClusterError):
    """A run that is no longer followed but goes on."""

    def __init__(self, message: str, exit_code: int = ClusterError.exit_code) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(slots=True)
class _Log:
    """What was told of a log: its lines, and the time stamp of the last."""

    lines: list[str] = field(default_factory=list)
    last: str = ""


def require_followable(kubectl: Kubectl) -> None:
    """Raise `ClusterError` where the user may not list pods: a run would start that nobody could follow."""
    try:
        kubectl.all_of("pods", "--selector", "kaitoc.dev/run=none", *kubectl.namespace_options)
    except RefusedError as error:
        command = " ".join(["kubectl auth can-i list pods", *kubectl.namespace_options])
        raise ClusterError(f"the run could not be followed: {error}; `{command}` shows it") from error


class Follower:
    """Polls one run until it ends, and prints state changes and pod logs as they come."""

    def __init__(self, kubectl: Kubectl, engine: Engine, echo: Callable[[str], None], options: FollowOptions) -> None:
        self._kubectl = kubectl
        self._engine = engine
        self._echo = echo
        self._options = options
        self._told: dict[str, str] = {}
        self._logs: dict[LogSource, _Log] = {}

    def follow(self) -> list[str]:
        """Return the lines of the run's log once it succeeded; raises `ClusterError`.

        `LeftRunningError` is for a run that goes on: after the timeout, after Ctrl-C, or with the API server away.
        """
        try:
            return self._follow()
        except KeyboardInterrupt:
            raise LeftRunningError(self._goes_on("stopped following"), EXIT_INTERRUPTED) from None

    def _follow(self) -> list[str]:
        started = last_answer = time.monotonic()
        is_away = False
        while True:
            try:
                observation = self._engine.observe()
                is_away, last_answer = False, time.monotonic()
                self._tell(observation)
                if observation.outcome == "":
                    return [line for log in self._logs.values() for line in log.lines]
                if observation.outcome is not None:
                    raise ClusterError(f"{self._engine.name}: {redacted_text(observation.outcome)}")
            except RefusedError as error:
                raise LeftRunningError(self._goes_on(str(error))) from error
            except AwayError as error:
                waited = time.monotonic() - last_answer
                if waited >= self._options.wait_for_api_seconds:
                    what = f"the API server did not answer for {waited:,.0f} s ({error})"
                    raise LeftRunningError(self._goes_on(what)) from error
                if not is_away:
                    self._echo(f"{error.trouble}; waiting for it: {error}")
                is_away = True
            timeout = self._options.timeout_seconds
            if timeout is not None and time.monotonic() - started >= timeout:
                raise LeftRunningError(self._goes_on(f"not done after {timeout:g} s"))
            time.sleep(self._options.poll_seconds)

    def _goes_on(self, why: str) -> str:
        return f"{self._engine.name}: {why}; the run continues; stop it with `{self._engine.stop_command}`"

    def _tell(self, observation: Observation) -> None:
        for key, text in observation.states:
            if self._told.get(key) != text:
                self._told[key] = text
                self._echo(redacted_text(text))
        for source in observation.logs:
            self._stream(source)

    def _stream(self, source: LogSource) -> None:
        """Tell the lines of a log that are new; one that cannot be read yet is read the next time.

        Lines are asked for from the second of the last one on, and told apart by their time stamps.
        """
        log = self._logs.setdefault(source, _Log())
        since = [f"--since-time={log.last}"] if log.last else []
        command = ["logs", source.pod, "--container", source.container, "--timestamps", *since]
        try:
            printed = self._kubectl.run(*command, *self._kubectl.namespace_options)
        except RefusedError:
            return
        newest = log.last
        for stamped in printed.splitlines():
            stamp, _, line = stamped.partition(" ")
            if stamp > log.last:
                newest = stamp
                log.lines.append(line)
                self._echo(redacted_text(line))
        log.last = newest
