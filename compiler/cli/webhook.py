"""`kaitoc webhook`: serve admission over HTTPS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from kaitoc.compiler.cli.admission_options import admission_options, policy_options
from kaitoc.compiler.cli.completion import complete_path
from kaitoc.compiler.core.source import UserError

if TYPE_CHECKING:
    from kaitoc.compiler.admission.partners import Partners

EXIT_USAGE = 2
_IN_CLUSTER = "kubernetes"


@click.command()
@admission_options
@click.option("--host", default="0.0.0.0", show_default=True, metavar="H", help="Address to listen on.")  # noqa: S104
@click.option("--port", type=click.IntRange(1, 65535), default=8443, show_default=True, metavar="N")
@click.option("--cert", metavar="FILE", shell_complete=complete_path,
              help="Certificate chain, PEM; loaded again when it changes.")  # fmt: skip
@click.option("--key", metavar="FILE", shell_complete=complete_path, help="Private key, PEM.")
@click.option("--insecure-http", is_flag=True, help="Serve plain HTTP, for a proxy that ends TLS.")
@click.option(
    "--partners",
    multiple=True,
    metavar="kubernetes|PATH",
    shell_complete=complete_path,
    help="Where ConfigMaps and Workspaces are found: in the cluster, or in files and folders; repeatable.",
)
@click.option("--fail-open/--fail-closed", default=True, show_default=True, help="Let pass what could not be judged.")
@click.option(
    "--processes", type=click.IntRange(min=1), metavar="N", help="Processes that judge (default: one a core)."
)
@click.option("--max-in-flight", type=click.IntRange(min=1), default=512, show_default=True, metavar="N")
@click.option("--request-seconds", type=click.FloatRange(0.1, 300), default=10.0, show_default=True, metavar="S",
              help="Time in which a request's head, and its body, must arrive.")  # fmt: skip
@click.option("--drain-seconds", type=click.FloatRange(0, 300), default=5.0, show_default=True, metavar="S",
              help="After SIGTERM, time to go on answering while the cluster notices.")  # fmt: skip
@click.pass_context
def webhook(ctx: click.Context, /, **options: Any) -> None:
    """Serve `/validate` and `/mutate` for the API server, and `/healthz`, `/readyz` and `/metrics`."""
    try:
        _serve(options)
    except ImportError as error:
        click.echo(f"kaitoc: `kaitoc webhook` needs `pip install 'kaitoc[webhook]'` ({error})", err=True)
        ctx.exit(EXIT_USAGE)
    except UserError as error:
        click.echo(f"kaitoc: {error}", err=True)
        ctx.exit(EXIT_USAGE)


def _serve(options: dict[str, Any]) -> None:
    if not options["insecure_http"] and not (options["cert"] and options["key"]):
        raise UserError("--cert and --key are needed (or --insecure-http, behind a proxy that ends TLS)")
    from kaitoc.compiler.admission.policy import policy_of

    policy = policy_options(options)
    policy_of(policy, mutates=False)  # what is wrong with the options is told now, not by each process
    from kaitoc.compiler.webhook.app import Limits, Webhook
    from kaitoc.compiler.webhook.judging import Judges
    from kaitoc.compiler.webhook.metrics import Metrics
    from kaitoc.compiler.webhook.server import Address, serve

    partners = _partners(options["partners"])
    judges = Judges(policy, options["processes"] or os.cpu_count() or 1)
    limits = Limits(max_in_flight=options["max_in_flight"], body_seconds=options["request_seconds"])
    hook = Webhook(judges, partners, limits, Metrics(), fails_open=options["fail_open"])
    certificate, key = ("", "") if options["insecure_http"] else (options["cert"], options["key"])
    address = Address(options["host"], options["port"], certificate, key, options["request_seconds"])
    serve(hook, partners, address, options["drain_seconds"])


def _partners(paths: tuple[str, ...]) -> Partners:
    from kaitoc.compiler.admission.partners import FolderPartners, NoPartners

    if _IN_CLUSTER in paths:
        if len(paths) > 1:
            raise UserError("`--partners kubernetes` cannot be mixed with files")
        from kaitoc.compiler.webhook.cluster_partners import ClusterPartners, KubernetesApi

        found = ClusterPartners(KubernetesApi())
        found.start()
        return found
    return FolderPartners(paths) if paths else NoPartners()
