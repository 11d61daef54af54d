"""Packs an adapter as an OCI image layout that Kaito's inference pulls as an adapter image.

The image is what Kaito's own pusher makes (kaito-project/kaito, pkg/workspace/image/pusher.sh): one gzipped layer with
`data/adapter_config.json` and `data/adapter_model.safetensors`, and a config that lists the layer. `oras cp
--from-oci-layout FOLDER:latest REGISTRY/NAME` or `skopeo copy oci:FOLDER:latest docker://REGISTRY/NAME` uploads it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import OutputFailure
from kaitoc.runtime.output.earlier_run import replace_result
from kaitoc.runtime.output.names import ADAPTER_FILES, IMAGE

TAG = "latest"
_FOLDER_IN_IMAGE = "data"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_GZIP_LEVEL = 1
"""Trained weights hardly compress, so the fastest level loses nothing."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of the layout, by what OCI calls a descriptor."""

    media_type: str
    digest: str
    num_bytes: int

    def descriptor(self, **more: Any) -> dict[str, Any]:
        """Return the blob as a manifest names it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.num_bytes, **more}


def write_image(plan: Plan, adapter: Path, output: Path) -> Path:
    """Write the adapter of a plan as an image layout into its output folder, titled with the plan's name."""
    return write_layout(adapter, output / IMAGE, {"org.opencontainers.image.title": plan.name})


def write_layout(adapter: Path, folder: Path, annotations: dict[str, str] | None = None) -> Path:
    """Write an adapter folder as an OCI image layout; the same adapter always gives the same digest.

    The folder appears in one step. Raises `OutputFailure` when the adapter is not complete or cannot be written.
    """
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        blobs = unfinished / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        _write_layout(adapter, unfinished, blobs, annotations or {})
        replace_result(unfinished, folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise OutputFailure(f"{folder}: the image cannot be written: {error.strerror or error}") from error
    return folder


def _write_layout(adapter: Path, folder: Path, blobs: Path, annotations: dict[str, str]) -> None:
    layer, layer_digest = _layer(adapter, blobs)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    }
    stored_config = _store_json(blobs, _CONFIG_TYPE, config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": stored_config.descriptor(),
        "layers": [layer.descriptor()],
        **({"annotations": annotations} if annotations else {}),
    }
    stored_manifest = _store_json(blobs, _MANIFEST_TYPE, manifest)
    tagged = stored_manifest.descriptor(annotations={"org.opencontainers.image.ref.name": TAG})
    index = {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": [tagged]}
    (folder / "index.json").write_bytes(_json_bytes(index))
    (folder / "oci-layout").write_bytes(_json_bytes({"imageLayoutVersion": "1.0.0"}))


class _Writable(Protocol):
    def write(self, data: bytes, /) -> int: ...


class _Hashed(io.RawIOBase):
    """Passes bytes on to a stream and hashes them on the way."""

    def __init__(self, stream: _Writable) -> None:
        super().__init__()
        self._stream = stream
        self._digest = hashlib.sha256()
        self.num_bytes = 0

    def write(self, data: Any, /) -> int:
        """Hash and pass on."""
        self._digest.update(data)
        self.num_bytes += len(data)
        return self._stream.write(data)

    @property
    def digest(self) -> str:
        """The digest as OCI writes it."""
        return f"sha256:{self._digest.hexdigest()}"


def _layer(adapter: Path, blobs: Path) -> tuple[Blob, str]:
    """Write the layer and return it with the digest of its uncompressed bytes."""
    with tempfile.NamedTemporaryFile(dir=blobs.parent, delete=False) as stream:
        compressed = _Hashed(stream)
        with gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=compressed, mtime=0) as zipped:
            plain = _Hashed(zipped)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
                _add_files(tar, adapter)
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, blobs / compressed.digest.partition(":")[2])
    return Blob(_LAYER_TYPE, compressed.digest, compressed.num_bytes), plain.digest


def _add_files(tar: tarfile.TarFile, adapter: Path) -> None:
    folder = tarfile.TarInfo(_FOLDER_IN_IMAGE)
    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(folder)
    for name in ADAPTER_FILES:
        with (adapter / name).open("rb") as stream:
            entry = tarfile.TarInfo(f"{_FOLDER_IN_IMAGE}/{name}")
            entry.size, entry.mode = os.fstat(stream.fileno()).st_size, 0o644
            tar.addfile(entry, stream)


def _store_json(blobs: Path, media_type: str, content: dict[str, Any]) -> Blob:
    data = _json_bytes(content)
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return Blob(media_type, f"sha256:{digest}", len(data))


def _json_bytes(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode("utf-8")
