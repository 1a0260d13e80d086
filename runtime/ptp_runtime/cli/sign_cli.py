"""``ptp sign``."""

from __future__ import annotations

from pathlib import Path

import click

from ptp_runtime.bundle import Bundle
from ptp_runtime.cli.options import bundle_argument, json_option, print_json


@click.command()
@bundle_argument
@click.option("--key", type=click.Path(path_type=Path), help="PEM file of an Ed25519 private key; without it: no file.")
@json_option
def sign(bundle: Path, key: Path | None, as_json: bool) -> None:
    """Sign BUNDLE, or show the digest that pins it.

    Every file is verified first. The signature is written beside the manifest and covers, through its digests, every
    file of the bundle. Both are for --trust: engines are code, and run only where somebody vouches for them.

    \b
    Examples:
      ptp sign BUNDLE                          # the digest: ptp infer BUNDLE ... --trust DIGEST
      openssl genpkey -algorithm ed25519 -out key.pem
      openssl pkey -in key.pem -pubout -out public.pem
      ptp sign BUNDLE --key key.pem            # then: ptp infer BUNDLE ... --trust public.pem
    """
    from ptp_runtime.atomic import write_bytes
    from ptp_runtime.manifest import MANIFEST_NAME
    from ptp_runtime.signing import SIGNATURE_NAME, sign_manifest
    from ptp_runtime.trust import manifest_bytes, manifest_digest

    opened = Bundle.open(bundle)
    digest = manifest_digest(opened)
    written = None
    if key is not None:
        written = write_bytes(opened.path / SIGNATURE_NAME, sign_manifest(manifest_bytes(opened), key))
    if as_json:
        print_json({"manifest_sha256": digest, "signature": written})
        return
    click.echo(f"sha256:{digest}  {MANIFEST_NAME}")
    if written is not None:
        click.echo(f"signed: {written}")
