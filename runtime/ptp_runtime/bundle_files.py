"""What coding needs of a bundle beside its graphs: the frequency tables and the gains, checked against the manifest."""

from __future__ import annotations

from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import WrongModelError
from ptp_runtime.manifest import FileEntry
from ptp_runtime.rate_gains import RateGains
from ptp_runtime.tables import Tables


def read_tables(bundle: Bundle) -> Tables:
    """The frequency tables.

    Raises:
        BundleError: no tables, or (WrongModelError) those of another model than the manifest describes.
    """
    entropy = bundle.manifest.entropy
    tables = Tables.from_bytes(bundle.read(entropy.tables))
    found, wanted = (tables.hyper_count, tables.probability_bits), (entropy.hyper_channels, entropy.probability_bits)
    if found != wanted:
        raise WrongModelError(
            "the frequency tables do not fit the manifest",
            expected=f"{wanted[0]} hyper channels and {wanted[1]} probability bits",
            got=f"{found[0]} and {found[1]}",
            hint="export the bundle again",
        )
    return tables


def read_gains(bundle: Bundle) -> RateGains | None:
    """The gains of a bundle with several rates, as many as its manifest says; None of one with a single rate.

    Raises:
        BundleError: no gains, or (WrongModelError) of other numbers.
    """
    entropy = bundle.manifest.entropy
    if entropy.rates is None:
        return None
    gains = RateGains.from_bytes(bundle.read(FileEntry(entropy.rates.file, entropy.rates.sha256)))
    wanted = (entropy.rates.count, entropy.latent_channels)
    if gains.gains.shape != wanted:
        raise WrongModelError(
            "the gains do not fit the manifest",
            expected=f"{wanted[0]} rates of {wanted[1]} channels",
            got=" × ".join(str(n) for n in gains.gains.shape),
            hint="export the bundle again",
        )
    return gains
