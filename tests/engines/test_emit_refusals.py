"""`kaitoc compile --emit`: what is refused, with what to write, and where the manifests go."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from test_emit import DEMO, IMAGE, LARGE, emit, objects

from kaitoc.compiler.cli import cli


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--emit", "trainjob", "--model-claim", "m"), "--image (empty): not an image"),
        (("--emit", "trainjob", "--image", "a b", "--model-claim", "m"), "--image a b: not an image"),
        (("--emit", "trainjob", "--image", "i"), "--emit needs --model-claim"),
        (("--emit", "trainjob", *IMAGE, "--nodes", "0"), "--nodes 0: expected a number from 1 to 1000, or auto"),
        (("--emit", "trainjob", *IMAGE, "--rdma", "ib=1"), "--rdma ib=1: expected RESOURCE=COUNT"),
        (("--emit", "trainjob", *IMAGE, "--queue", "-a"), "--queue -a: not the name of an object"),
        (("--emit", "trainjob", *IMAGE, "--priority-class", "p"), "name the queue with --queue"),
        (
            ("--emit", "trainjob", *IMAGE, "--data-claim", "A"),
            "--data-claim A: not the name of a",
        ),
        (("--emit", "trainjob", *IMAGE, "--in-place"), "is incompatible with --in-place and --diff"),
        (("--emit", "trainjob", *IMAGE, "--target", "kaito"), "remove --target"),
        (("--nodes", "2"), "--nodes goes with --emit"),
        (("--shard-group", "2"), "--shard-group needs --emit"),
        (
            ("--emit", "trainjob", *IMAGE, "--nodes", "4", "--shard-group", "3"),
            "--shard-group 3: 4 GPUs cannot form shard groups of 3; the nearest size is 2",
        ),
    ],
)
def test_what_cannot_be_emitted_is_refused_with_what_to_write(options: tuple[str, ...], told: str) -> None:
    result = emit(*options)

    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("output", "{image: 'r.example/a:1', imagePushSecret: s}", "with --results-claim, and push the adapter"),
        ("input", "{image: 'r.example/a:1'}", "name its claim with --data-claim"),
    ],
)
def test_images_as_input_or_output_are_refused_with_what_to_write(
    tmp_path: Path, part: str, value: str, told: str
) -> None:
    text = re.sub(rf"^  {part}:\n(    .*\n)+", f"  {part}: {value}\n", DEMO.read_text(), flags=re.M)
    path = tmp_path / "a.yaml"
    path.write_text(text)

    result = emit("--emit", "trainjob", *IMAGE, path=path)

    assert result.exit_code == 2
    assert told in result.stderr


def test_manifests_are_written_into_the_file_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "new" / "run.yaml"

    result = emit("--emit", "trainjob", *IMAGE, "-o", str(file))

    assert (result.exit_code, result.stdout) == (0, "")
    assert file.read_text() == emit("--emit", "trainjob", *IMAGE).stdout


def test_manifests_come_from_standard_input_too() -> None:
    result = CliRunner().invoke(cli, ["compile", "-", "--isolated", "--emit", "jobset", *IMAGE], input=DEMO.read_text())

    assert list(objects(result)) == ["ConfigMap", "JobSet"]


@pytest.mark.parametrize("count", ["two", "0", "1001"])
def test_a_count_of_nodes_that_is_none_is_refused(tmp_path: Path, count: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(re.sub(r"(  instanceType: .*)", rf"\1\n  count: {count}", DEMO.read_text()))

    result = emit("--emit", "jobset", *IMAGE, path=path)

    assert result.exit_code == 2
    assert f"`resource.count: {count}`: expected a number from 1 to 1000" in result.stderr
    assert emit("--emit", "jobset", *IMAGE, "--nodes", "2", path=path).exit_code == 0


def test_a_gpu_that_the_nodes_do_not_have_is_refused() -> None:
    result = emit("--emit", "trainjob", *IMAGE, "--gpu", "H100-80GB")

    assert result.exit_code == 2
    assert "the nodes have the GPUs of `resource.instanceType`" in result.stderr


def test_a_group_that_is_too_small_for_a_copy_is_the_cause_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text(LARGE.replace("max_length: 512", "max_length: 4096"))

    result = emit("--emit", "jobset", *IMAGE, "--nodes", "4", "--shard-group", "2", path=path)

    assert result.exit_code == 2
    assert "--shard-group 2: one process needs more than the " in result.stderr


@pytest.mark.parametrize("name", ["run.json", "demo.yaml"])
def test_a_file_of_another_format_and_the_manifest_itself_are_not_written(tmp_path: Path, name: str) -> None:
    source = tmp_path / "demo.yaml"
    source.write_text(DEMO.read_text())

    result = emit("--emit", "jobset", *IMAGE, "-o", str(tmp_path / name), path=source)

    assert result.exit_code == 2
    assert [file.name for file in tmp_path.iterdir()] == ["demo.yaml"]
    assert source.read_text() == DEMO.read_text()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--rdma", "nvidia.com/gpu=1"), ("--rdma", "nvidia.com/gpu.shared=1"), ("--queue", "Team_A"),
     ("--priority-class", "a_b")],
)  # fmt: skip
def test_what_no_cluster_has_is_refused(option: str, value: str) -> None:
    result = emit("--emit", "trainjob", *IMAGE, "--queue", "team-a", option, value)

    assert result.exit_code == 2
    assert f"{option} {value}: " in result.stderr


def test_manifests_are_written_into_a_folder(tmp_path: Path) -> None:
    result = emit("--emit", "jobset", *IMAGE, "-o", str(tmp_path / "out"))

    (file,) = (tmp_path / "out").iterdir()
    assert (result.exit_code, result.stdout) == (0, "")
    assert file.stem == next(yaml.safe_load_all(file.read_text()))["metadata"]["name"]
