"""``ptp serve``."""

from __future__ import annotations

import os
from importlib.metadata import version

import click

from ptp_runtime.cli.options import backend_options
from ptp_runtime.errors import MissingExtraError


@click.command(context_settings={"show_default": True})
@click.argument("bundles", metavar="[NAME=]BUNDLE...", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 for every one of this machine.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="Of HTTP; 0 takes a free one.")
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=8001, help="Of gRPC; 0 takes a free one.")
@click.option("--grpc/--no-grpc", "with_grpc", default=True, help="Whether to serve gRPC, too.")
@click.option("--max-body", type=click.IntRange(1, 2047), default=32, help="Of a request, MiB.")
@click.option(
    "--max-pixels", type=click.IntRange(1), default=16 << 20, help="Worked on at a time; also of a single photo."
)
@click.option("--max-request-pixels", type=click.IntRange(1), default=64 << 20, help="Of all photos of a request.")
@click.option("--max-photos", type=click.IntRange(1), default=64, help="Photos or streams in one request.")
@click.option("--queue", type=click.IntRange(0), default=256, help="Photos and streams that may wait for a worker.")
@click.option("--timeout", type=click.FloatRange(0.1), default=30.0, help="Seconds for one request, waiting included.")
@click.option("--max-connections", type=click.IntRange(1), default=512, help="Over HTTP and over gRPC, each.")
@click.option("--grace", type=click.FloatRange(0), default=30.0, help="Seconds to finish in after SIGTERM.")
@click.option(
    "--triton",
    is_flag=True,
    help="Let a Triton that is installed here serve: tritonserver on the path, or PyTriton's. Host, ports and trust"
    " count; limits and the page are the other server's.",
)
@click.option("--metrics-port", type=click.IntRange(0, 65535), default=8002, help="Of Triton's metrics.")
@backend_options("throughput")
def serve(
    bundles: tuple[str, ...],
    host: str,
    port: int,
    grpc_port: int,
    with_grpc: bool,
    max_body: int,
    max_pixels: int,
    max_request_pixels: int,
    max_photos: int,
    queue: int,
    timeout: float,
    max_connections: int,
    grace: float,
    triton: bool,
    metrics_port: int,
    backend: str,
    threads: int | None,
    inexact: str,
    trust: str | None,
    profile: str,
) -> None:
    """Serve bundles by the Open Inference Protocol (KServe v2), over HTTP and gRPC.

    Each task of each bundle becomes the models TASK_encode, TASK_decode and TASK_infer. A page to drop a photo on is at
    /, Prometheus's metrics are at /metrics. There is neither encryption nor a password: put a proxy before it, or
    keep to this machine.

    \b
    Examples:
      ptp serve BUNDLE
      ptp serve BUNDLE --host 0.0.0.0 --port 80
      ptp serve street=BUNDLE1 indoor=BUNDLE2        # models street_seg_infer, indoor_seg_infer …
      curl --data-binary @photo.jpg -H 'Inference-Header-Content-Length: 0' localhost:8000/v2/models/seg_infer/infer
    """
    if triton:
        from ptp_runtime.service.triton.run import run_triton
        from ptp_runtime.service.triton.server import Ports

        run_triton(bundles, Ports(host, port, grpc_port, metrics_port), trust, os.environ)
        click.echo("stopped")
        return
    try:
        import asyncio

        from ptp_runtime.service.serve.server import Addresses
        from ptp_runtime.service.serve.server import serve as serve_until_stopped
    except ImportError as error:
        raise MissingExtraError(
            "the service needs packages that are not installed",
            expected="the extra 'serve'",
            got=str(error),
            hint="pip install 'ptp-deploy[serve]'",
        ) from error
    from ptp_runtime.service.serve.catalogue import Catalogue
    from ptp_runtime.service.serve.limits import Limits
    from ptp_runtime.service.serve.service import Service

    limits = Limits(max_body << 20, max_pixels, max_request_pixels, max_photos, queue, timeout, max_connections)
    catalogue = Catalogue.open(bundles, backend=backend, threads=threads, inexact=inexact, trust=trust, profile=profile)
    service = Service(catalogue, limits)

    def began(http_port: int, calls_port: int | None) -> None:
        shown = f"[{host}]" if ":" in host else host
        for model in catalogue:
            click.echo(f"  {model.name}: {model.session.backend.backend.provider}")
        click.echo(f"http://{shown}:{http_port}/  {service.workers.count} workers")
        if calls_port is not None:
            click.echo(f"grpc://{shown}:{calls_port}")

    asyncio.run(
        serve_until_stopped(
            service,
            Addresses(host, port, grpc_port if with_grpc else None),
            name="ptp-deploy",
            version=version("ptp-deploy"),
            grace=grace,
            began=began,
        )
    )
    click.echo("stopped")
