"""What all commands say of one manifest: none may contradict another, and a fix must hold when it is applied."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from wrong_usage import answer

sys.path += [str(Path(__file__).parents[1] / room) for room in ("check", "compile")]

from serving_agreement import drawn_server
from upgrade_cases import random_config

from kaitoc.compiler.catalog.gpus import all_instance_types
from kaitoc.compiler.catalog.releases import all_releases, newest_release
from kaitoc.compiler.core.areas import area_of
from kaitoc.compiler.kaito.argument_table import release_arguments
from kaitoc.running import _OF_THE_CLUSTER

DOES_NOT_FIT = {"KT501", "KT740", "KT741", "KT742", "KT747"}
TIGHT = {"KT502", "KT743"}
MEMORY = {*DOES_NOT_FIT, *TIGHT, "KT513", "KT514"}


@dataclass(frozen=True, slots=True)
class Found:
    """A check's exit code and findings."""

    code: int
    findings: tuple[dict[str, Any], ...]

    def codes(self, severity: str) -> set[str]:
        return {one["code"] for one in self.findings if one["severity"] == severity}

    @property
    def errors(self) -> set[str]:
        return self.codes("error")

    @property
    def all_codes(self) -> set[str]:
        return {one["code"] for one in self.findings}


class Refusal(NamedTuple):
    """An error that a compilation names: its place in the user's text and its code."""

    place: str
    code: str


def drawn_tuning(seed: int) -> tuple[str, str]:
    """Draw a manifest that tunes with any options, and the release that it is for."""
    draw = random.Random(f"tuning-{seed}")
    text, release = random_config(draw), draw.choice([one.name for one in all_releases()])
    instances = [one.name for one in all_instance_types() if one.gpu is not None and one.last_release is None]
    text = text.replace("Standard_NC24ads_A100_v4", draw.choice(instances))
    text = text.replace("phi-3-mini-4k-instruct", draw.choice(newest_release().tunable_presets))
    text = text.replace("[o_proj]", draw.choice(("[o_proj]", "[qkv_proj]", "[q_proj, v_proj]", "all-linear")))
    if "max_length" not in text and "max_length" in release_arguments(release).sections["TrainingArguments"].arguments:
        text = text.replace(
            "        output_dir:", f"        max_length: {draw.choice((512, 8192))}\n        output_dir:"
        )
    return text.replace("method: lora", f"method: {draw.choice(('lora', 'lora', 'qlora'))}"), release


def drawn_serving(seed: int) -> tuple[str, str]:
    """Draw a manifest that serves, and the release that it is for."""
    server = drawn_server(seed)
    return server.text, server.release


class Commands:
    """The commands on one manifest in a file, for one release."""

    def __init__(self, path: Path, release: str) -> None:
        self.path, self.release = path, release
        self.task = [] if "tuning:" in path.read_text(encoding="utf-8") else ["--task", "serve"]
        self.settings = ["--kaito-version", release, "--isolated"]

    def run(self, command: str, *words: str, given: bytes = b"") -> tuple[int, str, str]:
        return answer([command, *words, *self.settings], given)

    def check(self, path: Path, *words: str) -> Found:
        code, output, _ = self.run("check", str(path), "-f", "json", *words)
        return Found(code, tuple(json.loads(output)["findings"]))

    def written(self, text: str) -> Path:
        path = self.path.with_name("changed.yaml")
        path.write_text(text, encoding="utf-8")
        return path


def disagreements(text: str, release: str, folder: Path) -> Iterator[str]:
    """Yield where two commands contradict each other about a manifest, or one ends in more than one line."""
    path = folder / "manifest.yaml"
    path.write_text(text, encoding="utf-8")
    commands = Commands(path, release)
    found = commands.check(path)
    if found.code != bool(found.errors):
        yield f"check ends with {found.code} and {sorted(found.errors)}"
    yield from _of_estimate(commands, found)
    yield from _of_fixes(commands, found)
    yield from _of_compile(commands, found)
    yield from _of_admit(commands, found)
    yield from _of_upgrade(commands, found)
    if "tuning:" in text:
        yield from _of_dry_run(commands)


def _of_estimate(commands: Commands, found: Found) -> Iterator[str]:
    code, output, errors = commands.run("estimate", str(commands.path), "-f", "json", *commands.task)
    jobs = json.loads(output)["jobs"] if output else []
    verdicts = {job["verdict"] for job in jobs}
    expected = 1 if "does-not-fit" in verdicts else 0
    if "internal error" in errors or (code == 2 and not errors):
        yield f"estimate: {errors}"
    if verdicts and code != expected:
        yield f"estimate ends with {code} for {verdicts}"
    if "does-not-fit" in verdicts and not found.all_codes & DOES_NOT_FIT and not found.errors:
        yield f"estimate: does not fit, check: {sorted(found.all_codes)}"
    if "fits" in verdicts and found.all_codes & (DOES_NOT_FIT | TIGHT):
        yield f"estimate: fits, check: {sorted(found.all_codes & MEMORY)}"
    if code == 2 and found.all_codes & (DOES_NOT_FIT | TIGHT):
        yield f"estimate: {errors}, check: {sorted(found.all_codes & MEMORY)}"


def _of_fixes(commands: Commands, found: Found) -> Iterator[str]:
    text = commands.path.read_text(encoding="utf-8")
    for words in (["--fix"], ["--fix", "--unsafe-fixes"]):
        path = commands.written(text)
        commands.run("check", str(path), *words)
        fixed = path.read_text(encoding="utf-8")
        lines, own = fixed.splitlines(), set(text.splitlines())
        new = [one for one in commands.check(path).findings if one["code"] not in found.errors]
        brought = [
            one["message"]
            for one in new
            if one["severity"] == "error" and lines[one["span"]["start"]["line"] - 1] not in own
        ]
        if brought:
            yield f"{' '.join(words)} brings {brought}"
        commands.run("check", str(path), *words)
        if path.read_text(encoding="utf-8") != fixed:
            yield f"{' '.join(words)} twice is not {' '.join(words)} once"


def _of_compile(commands: Commands, found: Found) -> Iterator[str]:
    code, output, errors = commands.run("compile", str(commands.path), "-o", "-")
    if "internal error" in errors or (code == 2 and not found.errors):
        yield f"compile ends with {code}: {errors}"
    yield from _of_advice(commands, errors)
    if code or not output:
        return
    after = commands.check(commands.written(output))
    if after.errors:
        yield f"compile ends with 0 and leaves {sorted(after.errors)}"
    again = commands.run("compile", str(commands.written(output)), "-o", "-")[1]
    if again != output:
        yield "compile twice is not compile once"


def _of_advice(commands: Commands, errors: str) -> Iterator[str]:
    """Yield options that were advised where a run does not fit and that leave it so; other errors may stay as well."""
    others = {one for one in _refusals(errors) if one.code not in DOES_NOT_FIT}
    for advice in dict.fromkeys(re.findall(r"--preserve \w+(?= finds| takes)|--allow-workspace-edits(?=\))", errors)):
        code, _, still = commands.run("compile", str(commands.path), "-o", "-", *advice.split())
        left = _refusals(still)
        if bool(code) != bool(left) or left - others:
            yield f"compile refuses also with {advice}: {errors}{still}"


def _refusals(errors: str) -> set[Refusal]:
    return {Refusal(*found) for found in re.findall(r"^kaitoc: \S+:(\d+:\d+): (KT\d+) ", errors, re.MULTILINE)}


def _of_admit(commands: Commands, found: Found) -> Iterator[str]:
    objects = [one for one in yaml.safe_load_all(commands.path.read_text(encoding="utf-8")) if one]
    partners = commands.path.with_name("partners.yaml")
    partners.write_text(yaml.safe_dump_all([one for one in objects if one["kind"] == "ConfigMap"]), encoding="utf-8")
    for one in objects:
        if one["kind"] == "ConfigMap":
            continue
        one.setdefault("metadata", {}).setdefault("namespace", "default")
        kind = {"group": "kaito.sh", "version": "v1beta1", "kind": one["kind"]}
        request = {"uid": "1", "kind": kind, "operation": "CREATE", "namespace": "default", "object": one}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
        code, output, errors = commands.run("admit", "--partners", str(partners), given=json.dumps(review).encode())
        if code == 2 or "internal error" in errors:
            yield f"admit: {errors}"
            continue
        is_allowed = json.loads(output)["response"]["allowed"]
        if is_allowed == bool(found.errors) or code != (not is_allowed):
            message = json.loads(output)["response"].get("status", {}).get("message", "")
            yield f"admit ends with {code}, allowed {is_allowed}, check has {sorted(found.errors)}: {message}"


def _of_upgrade(commands: Commands, found: Found) -> Iterator[str]:
    newest = newest_release().name
    if commands.release == newest:
        return
    code, output, errors = answer(
        ["upgrade", "--from", commands.release, "--to", newest, str(commands.path), "-f", "json", "--isolated"]
    )
    after = Commands(commands.path, newest).check(commands.path)
    if code == 2 or "internal error" in errors:
        yield f"upgrade: {errors}"
    elif code != bool(after.errors - found.errors) and len(after.errors) <= len(found.errors):
        yield f"upgrade ends with {code}, checks with {sorted(found.errors)} and {sorted(after.errors)}: {output}"


def _of_dry_run(commands: Commands) -> Iterator[str]:
    """Compare a dry run with a check; what Kaito's webhook and GPUs refuse does not stop a run on this machine."""
    found = commands.check(commands.path, "--target", "bundled")
    stops = {code for code in found.errors if area_of(code) not in _OF_THE_CLUSTER}
    code, _, errors = commands.run("run", str(commands.path), "--dry-run")
    if "internal error" in errors or (code == 0) == bool(stops):
        yield f"run --dry-run ends with {code}, check with {sorted(found.errors)}: {errors[-400:]}"
