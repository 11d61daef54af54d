"""The Kubernetes API, through its client: the kinds that reviews need, listed and watched as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.manifest.recognition import KAITO_API_GROUP
from kaitoc.compiler.manifest.serving_objects import SERVING_VERSIONS

_WATCH_SECONDS = 300
_LIST_SECONDS = 60
_NEWEST_FIRST = {
    "Workspace": ("v1beta1",),
    **{kind: versions[::-1] for kind, versions in SERVING_VERSIONS.items()},
}
CONFIG_MAP = "ConfigMap"
KAITOS_KINDS = tuple(_NEWEST_FIRST)
PARTNER_KINDS = (CONFIG_MAP, *KAITOS_KINDS)


class KubernetesError(KaitocError):
    """A cluster that cannot be reached as configured."""


class UnknownKindError(KubernetesError):
    """A kind of which the cluster has no definition, and so no object."""


class KubernetesApi:
    """The cluster through the `kubernetes` client: the pod's service account, else the user's kubeconfig."""

    def __init__(self) -> None:
        """Load the configuration; raises `KubernetesError`."""
        from kubernetes import client, config

        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]  # the client declares no types
        except config.ConfigException:
            try:
                config.load_kube_config()  # type: ignore[no-untyped-call]
            except Exception as error:  # a kubeconfig that is no YAML, or no mapping, ends in errors of any kind
                why = " ".join(str(error).split())
                raise KubernetesError(f"--partners kubernetes: no cluster is configured: {why}") from error
        self._core, self._custom = client.CoreV1Api(), client.CustomObjectsApi()
        self._versions = {kind: versions[0] for kind, versions in _NEWEST_FIRST.items()}

    def list(self, kind: str) -> tuple[str, Sequence[Mapping[str, Any]]]:
        """Return the resource version and all objects of a kind; raises `UnknownKindError`."""
        response = json.loads(self._listed(kind).data)
        api_version = response["apiVersion"].removesuffix("List")
        items = [{"apiVersion": api_version, "kind": kind, **item} for item in response.get("items") or []]
        return str(response["metadata"]["resourceVersion"]), items

    def _listed(self, kind: str) -> Any:
        """Return the answer of the first version of a kind that the cluster serves, which is then the one to watch."""
        from kubernetes.client.exceptions import ApiException

        # Without a limit a connection that the server has forgotten would be waited for without end.
        options = {"_request_timeout": (10, _LIST_SECONDS)}
        if kind == CONFIG_MAP:
            return self._ask(kind, **options)
        for version in _NEWEST_FIRST[kind]:
            self._versions[kind] = version
            try:
                return self._ask(kind, **options)
            except ApiException as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
        raise UnknownKindError(f"the cluster has no definition of {_plural(kind)}.{KAITO_API_GROUP} (404)")

    def _ask(self, kind: str, **options: Any) -> Any:
        if kind == CONFIG_MAP:
            return self._core.list_config_map_for_all_namespaces(_preload_content=False, **options)
        return self._custom.list_cluster_custom_object(
            KAITO_API_GROUP, self._versions[kind], _plural(kind), _preload_content=False, **options
        )

    def watch(self, kind: str, resource_version: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield changes until the server ends the watch."""
        response = self._ask(
            kind,
            watch=True,
            resource_version=resource_version,
            timeout_seconds=_WATCH_SECONDS,
            _request_timeout=(10, _WATCH_SECONDS + 30),
        )
        try:
            for line in _lines(response.stream(None)):
                event = json.loads(line)
                yield str(event["type"]), event["object"]
        finally:
            response.release_conn()


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    remaining = b""
    for piece in pieces:
        *whole, remaining = (remaining + piece).split(b"\n")
        yield from (line for line in whole if line)


def _plural(kind: str) -> str:
    return f"{kind.lower()}s"
