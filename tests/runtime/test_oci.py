"""The adapter as an image: what Kaito's puller finds in it, and that every digest is right."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from kaitoc.runtime.failures import OutputFailure
from kaitoc.runtime.output.oci import write_layout


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 8}')
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 500)
    (folder / "README.md").write_text("not for the image")
    return folder


def blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    """The bytes a descriptor names, held to their digest and size."""
    algorithm, _, digest = descriptor["digest"].partition(":")
    data = (layout / "blobs" / algorithm / digest).read_bytes()
    assert hashlib.sha256(data).hexdigest() == digest
    assert len(data) == descriptor["size"]
    return data


def manifest_of(layout: Path) -> dict[str, Any]:
    index = json.loads((layout / "index.json").read_text())
    return dict(json.loads(blob(layout, index["manifests"][0])))


def test_the_layer_holds_the_two_files_in_the_folder_that_kaito_looks_in(adapter: Path, tmp_path: Path) -> None:
    layout = write_layout(adapter, tmp_path / "image")

    (layer,) = manifest_of(layout)["layers"]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob(layout, layer)))) as tar:
        names = tar.getnames()
        tar.extractall(tmp_path / "root", filter="data")

    assert names == ["data", "data/adapter_config.json", "data/adapter_model.safetensors"]
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "root" / "data" / name).read_bytes() == (adapter / name).read_bytes()


def test_the_config_names_the_digest_of_the_unzipped_layer(adapter: Path, tmp_path: Path) -> None:
    layout = write_layout(adapter, tmp_path / "image")

    manifest = manifest_of(layout)
    layer = gzip.decompress(blob(layout, manifest["layers"][0]))
    config = json.loads(blob(layout, manifest["config"]))

    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]


def test_it_is_a_layout_with_a_tag(adapter: Path, tmp_path: Path) -> None:
    layout = write_layout(adapter, tmp_path / "image")

    index = json.loads((layout / "index.json").read_text())

    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] == "latest"
    assert sorted(path.name for path in layout.iterdir()) == ["blobs", "index.json", "oci-layout"]


def test_the_same_adapter_gives_the_same_image(adapter: Path, tmp_path: Path) -> None:
    first = write_layout(adapter, tmp_path / "one", {"a": "b"})
    (adapter / "adapter_config.json").touch()
    second = write_layout(adapter, tmp_path / "two", {"a": "b"})

    assert (first / "index.json").read_bytes() == (second / "index.json").read_bytes()


def test_annotations_are_kept(adapter: Path, tmp_path: Path) -> None:
    layout = write_layout(adapter, tmp_path / "image", {"org.opencontainers.image.title": "tune-phi-3"})

    assert manifest_of(layout)["annotations"] == {"org.opencontainers.image.title": "tune-phi-3"}


def test_an_adapter_that_lacks_a_file_leaves_nothing_behind(adapter: Path, tmp_path: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()

    with pytest.raises(OutputFailure, match="the image cannot be written"):
        write_layout(adapter, tmp_path / "image")

    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
