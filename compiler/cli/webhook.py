"""`kaitoc webhook`: serve admission over HTTPS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from kaitoc.compiler.cli.admission_options import AdmissionOptions, admission_options
from kaitoc.compiler.cli.completion import complete_path
from kaitoc.compiler.cli.console import EXIT_USAGE, complain
from kaitoc.compiler.cli.option_types import Choice, Integer, Number
from kaitoc.compiler.cli.options import takes
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass

if TYPE_CHECKING:
    from kaitoc.compiler.admission.partners import Partners

_IN_CLUSTER = "kubernetes"


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """The command line of `kaitoc webhook`."""

    admission: AdmissionOptions
    host: str
    port: int
    cert: str | None
    key: str | None
    insecure_http: bool
    partners: tuple[str, ...]
    fail_open: bool
    processes: int | None
    max_in_flight: int
    request_seconds: float
    drain_seconds: float
    log_format: str

    @property
    def certificate(self) -> tuple[str, str]:
        """Return the files of the certificate and its key, empty for plain HTTP; raises `KaitocError` without them."""
        if self.insecure_http and (self.cert or self.key):
            raise KaitocError("--insecure-http and --cert are mutually exclusive")
        if self.insecure_http:
            return "", ""
        if not (self.cert and self.key):
            raise KaitocError("--cert and --key are needed (or --insecure-http, behind a proxy that ends TLS)")
        return self.cert, self.key


@click.command()
@admission_options
@click.option("--host", default="0.0.0.0", show_default=True, metavar="H", help="Address to listen on.")  # noqa: S104
@click.option("--port", type=Integer(1, 65535), default=8443, show_default=True, metavar="N",
              help="Port to listen on.")  # fmt: skip
@click.option("--cert", metavar="FILE", shell_complete=complete_path,
              help="Certificate chain, PEM; reloaded when it changes.")  # fmt: skip
@click.option("--key", metavar="FILE", shell_complete=complete_path, help="Private key, PEM.")
@click.option("--insecure-http", is_flag=True, help="Serve plain HTTP, for a proxy that ends TLS.")
@click.option(
    "--partners",
    multiple=True,
    metavar="kubernetes|PATH",
    shell_complete=complete_path,
    help="Where ConfigMaps and Kaito's objects are found: in the cluster, or in files and folders; repeatable.",
)
@click.option(
    "--fail-open/--fail-closed", default=True, show_default=True, help="Admit objects that could not be checked."
)
@click.option("--processes", type=Integer(min=1), metavar="N", help="Worker processes (default: one per core).")
@click.option("--max-in-flight", type=Integer(min=1), default=512, show_default=True, metavar="N",
              help="Reviews that a process answers at once; further ones get 503.")  # fmt: skip
@click.option("--request-seconds", type=Number(0.1, 300), default=10.0, show_default=True, metavar="S",
              help="Time limit for a request's headers, and for its body.")  # fmt: skip
@click.option("--drain-seconds", type=Number(0, 300), default=5.0, show_default=True, metavar="S",
              help="After SIGTERM, time to keep answering until the cluster stops sending reviews.")  # fmt: skip
@click.option("--log-format", type=Choice(["text", "json"]), default="text", show_default=True,
              help="Format of the log on standard error: start, denials and stop.")  # fmt: skip
@takes(WebhookOptions, admission=AdmissionOptions)
def webhook(options: WebhookOptions) -> int:
    """Serve `/validate` and `/mutate` for the API server, and `/healthz`, `/readyz` and `/metrics`."""
    try:
        _serve(options)
    except ImportError as error:
        complain(f"`kaitoc webhook` needs `pip install 'kaitoc[webhook]'` ({error})")
        return EXIT_USAGE
    return 0


def _serve(options: WebhookOptions) -> None:
    certificate, key = options.certificate
    from kaitoc.compiler.admission.policy import policy_of  # a server's libraries are optional, and load last

    policy = options.admission.policy
    policy_of(policy, mutates=False)  # what is wrong with the options is told now, not by each process
    from kaitoc.compiler.webhook.app import RequestLimits, Webhook
    from kaitoc.compiler.webhook.judging import Judges
    from kaitoc.compiler.webhook.log import LogFormat, start_logging
    from kaitoc.compiler.webhook.metrics import Metrics
    from kaitoc.compiler.webhook.server import Address, serve

    partners = _partners(options.partners)
    judges = Judges(policy, options.processes or os.cpu_count() or 1)
    limits = RequestLimits(max_in_flight=options.max_in_flight, body_seconds=options.request_seconds)
    hook = Webhook(judges, partners, limits, Metrics(), fails_open=options.fail_open)
    address = Address(options.host, options.port, certificate, key, options.request_seconds)
    start_logging(LogFormat(options.log_format))
    serve(hook, partners, address, options.drain_seconds)


def _partners(paths: tuple[str, ...]) -> Partners:
    from kaitoc.admitting import partners_in  # as above

    if _IN_CLUSTER not in paths:
        return partners_in(paths)
    if len(paths) > 1:
        raise KaitocError("`--partners kubernetes` cannot be mixed with files")
    from kaitoc.compiler.webhook.cluster_api import KubernetesApi  # kubernetes is optional
    from kaitoc.compiler.webhook.cluster_partners import ClusterPartners

    partners = ClusterPartners(KubernetesApi())
    partners.start()
    return partners
