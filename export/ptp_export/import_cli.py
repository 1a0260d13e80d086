"""``ptp import-checkpoint``: state dicts that were trained elsewhere to a checkpoint folder of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ptp_export import import_report
from ptp_export.command import PtpCommand
from ptp_export.training_photos import gather
from ptp_export.training_run import typed_errors
from ptp_model import checkpoint
from ptp_model.importing.assembly import MEDIAN_TOLERANCE, Assembly
from ptp_model.importing.matching import Matching, Offered, match, offers
from ptp_model.importing.names import TASKS, Place, Prefixes, task_of, unwrapped
from ptp_model.importing.sources import Source, read_source
from ptp_model.importing.statistics import IDENTITY, read_statistics
from ptp_model.importing.statistics import NAMES as STATISTICS
from ptp_model.spec import CONTEXTS, MAX_RATES, PRESETS, TEACHERS, TRANSFORMS, ModelSpec, preset
from ptp_model.training.crops import PhotoCrops
from ptp_model.training.fresh_start import measure_feature
from ptp_runtime.atomic import new_directory, write_bytes
from ptp_runtime.errors import CheckpointError, UsageError

#: Side of the crops that the feature is measured on, pixels: as in training.
MEASURED_SIDE = 192

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_EPILOG = """\b
Examples:
  ptp import-checkpoint codec.pth --preset tiny -o my-checkpoint
  ptp import-checkpoint codec.pth.tar --preset full --photos photos -o my-checkpoint \\
      --prompts seg=prompts.pth --head seg=deeplabv3_resnet50_coco.pth
  ptp import-checkpoint codec.pth --preset tiny --rename encoder=g_a --ignore 'loss.*' --report report.json -o mine

\b
Exit codes: 0 done, 2 a request that makes no sense, 7 weights that cannot be read or do not fit.
"""


@dataclass(frozen=True)
class _Given:
    """The files, read, and their tensors under our names."""

    sources: tuple[Source, ...]
    offered: tuple[Offered, ...]

    @property
    def tasks(self) -> set[str]:
        return {task_of(offer.target) for offer in self.offered} - {""}

    @property
    def has_statistics(self) -> bool:
        return any(offer.target in STATISTICS for offer in self.offered)


@click.command("import-checkpoint", cls=PtpCommand, epilog=_EPILOG)
@click.argument("source_files", metavar="SOURCE...", nargs=-1, required=True, type=_FILE)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Checkpoint folder to write; a new one."
)
@click.option("--preset", "preset_name", type=click.Choice(sorted(PRESETS)), required=True, help="Sizes of the codec.")
@click.option("--transform", type=click.Choice(TRANSFORMS), default="cnn", show_default=True)
@click.option("--context", type=click.Choice(CONTEXTS), default="checkerboard", show_default=True)
@click.option(
    "--rates", type=click.IntRange(1, MAX_RATES), default=1, show_default=True, help="How many rates the weights serve."
)
@click.option("--teacher", type=click.Choice(sorted(TEACHERS)), help="Its feature is coded.  [default: the preset's]")
@click.option("--prompts", metavar="TASK=FILE", multiple=True, help="A task's prompts (repeatable).")
@click.option("--head", metavar="TASK=FILE", multiple=True, help="A task's head, or torchvision's state dict.")
@click.option(
    "--task", type=click.Choice(TASKS), help="Whose prompts and head SOURCE holds, where names do not say it."
)
@click.option(
    "--feature-statistics",
    metavar="FILE|identity",
    help="Mean and std of the feature: a file with both, or 'identity' for a codec trained on the feature as it is.",
)
@click.option(
    "--photos",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Measure mean and std of the feature on these photographs (repeatable).",
)
@click.option("--rename", metavar="OLD=NEW", multiple=True, help="A prefix of names, such as encoder=g_a (repeatable).")
@click.option("--allow-missing", metavar="GLOB", multiple=True, help="Names of ours that may be missing: kept fresh.")
@click.option("--ignore", metavar="GLOB", multiple=True, help="Names that may be left over (repeatable).")
@click.option("--half", is_flag=True, help="Store the weights in FP16: half the size.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write what became of each name: JSON.")
@click.option("-v", "--verbose", is_flag=True, help="List every name.")
def import_command(
    source_files: tuple[Path, ...],
    output: Path,
    preset_name: str,
    transform: str,
    context: str,
    rates: int,
    teacher: str | None,
    prompts: tuple[str, ...],
    head: tuple[str, ...],
    task: str | None,
    feature_statistics: str | None,
    photos: tuple[Path, ...],
    rename: tuple[str, ...],
    allow_missing: tuple[str, ...],
    ignore: tuple[str, ...],
    half: bool,
    report: Path | None,
    verbose: bool,
) -> None:
    """Turn weights that were trained elsewhere into a checkpoint.

    SOURCE is a safetensors file or one of torch.save that holds tensors alone; nothing is unpickled. Names of
    CompressAI and torchvision are known; every tensor must find its place, or be named by --ignore or --allow-missing.
    """
    with typed_errors():
        spec = preset(preset_name, transform=transform, context=context, teacher=teacher, rates=rates)
        _refuse_taken(output)
        prefixes = Prefixes(dict(_pair(text, "OLD=NEW", "--rename encoder=g_a") for text in rename))
        places = [(path, Place(task or "", "codec")) for path in source_files]
        places += [_of_task(text, "prompts") for text in prompts] + [_of_task(text, "head") for text in head]
        given = _read(places, prefixes)
        statistics = _Statistics.of(spec, given, feature_statistics, photos)
        assembly = Assembly.of(spec, [name for name in TASKS if name in given.tasks], given.offered)
        matching = match(assembly.expected(statistics.in_source), given.offered, allow_missing, ignore)
        if report is not None:
            content = import_report.as_json(spec, given.sources, matching, statistics.origin)
            write_bytes(report, (json.dumps(content, indent=1) + "\n").encode())
        for line in import_report.lines(given.sources, matching, verbose):
            click.echo(line)
        _refuse(spec, matching, given)
        assembly.fill(matching)
        statistics.apply(assembly)
        digest = _save(output, assembly, _provenance(given, matching, statistics), half)
        if (median := assembly.median_of_z()) > MEDIAN_TOLERANCE:
            click.echo(
                f"Note: z's medians lie up to {median:.3g} from 0. CompressAI rounds z around them, this codec around "
                "0: train on for a while if the codec was trained with the former."
            )
        click.echo(f"{output}: digest {digest[:16]}, tasks {', '.join(['view', *assembly.tasks])}")


@dataclass(frozen=True)
class _Statistics:
    """Where the feature's mean and standard deviation come from.

    Attributes:
        origin: ``source``, ``identity``, a file's name, or how many photographs.
        chosen: ``identity``, or the file; None: the source's own, or measured.
        photos: to measure on.
    """

    origin: str
    chosen: Path | str | None
    photos: tuple[Path, ...]

    @property
    def in_source(self) -> bool:
        return self.chosen is None and not self.photos

    @classmethod
    def of(cls, spec: ModelSpec, given: _Given, chosen: str | None, folders: Sequence[Path]) -> _Statistics:
        asked = " and ".join(["--feature-statistics"] * (chosen is not None) + ["--photos"] * bool(folders))
        if asked and (given.has_statistics or (chosen is not None and folders)):
            got = f"{asked}, and a source with {' and '.join(STATISTICS)}" if given.has_statistics else asked
            raise UsageError(
                "the feature's mean and std are given twice", expected="one origin", got=got, hint="leave one out"
            )
        if folders:
            files = tuple(gather(folders, None, frozenset()).files)
            return cls(f"{len(files)} photographs", None, files)
        if chosen is None or chosen == IDENTITY:
            return cls(chosen or "source", chosen, ())
        path = Path(chosen)
        if not path.is_file():
            raise UsageError(
                f"--feature-statistics {chosen}",
                expected=f"a file, or {IDENTITY!r}",
                hint='JSON such as {"mean": [...], "std": [...]} will do',
            )
        read_statistics(path, spec.F)
        return cls(path.name, path, ())

    def apply(self, assembly: Assembly) -> None:
        if self.photos:
            crops = PhotoCrops(self.photos, MEASURED_SIDE, seed=1)
            measure_feature(assembly.codec, assembly.teacher(), crops)
        elif isinstance(self.chosen, Path):
            assembly.set_statistics(*read_statistics(self.chosen, assembly.spec.F))


def _pair(text: str, form: str, example: str) -> tuple[str, str]:
    left, sign, right = text.partition("=")
    if not sign or not left:
        raise UsageError(f"{text!r} is no {form}", expected=form, hint=f"such as {example}")
    return left.rstrip("."), right.rstrip(".")


def _of_task(text: str, kind: str) -> tuple[Path, Place]:
    task, _, name = text.partition("=")
    if task not in TASKS or not name:
        raise UsageError(
            f"--{kind} {text}", expected="TASK=FILE", got=text, hint=f"tasks with {kind} are {', '.join(TASKS)}"
        )
    if not Path(name).is_file():
        raise UsageError(f"--{kind} {text}", expected="a file", got=f"none of the name {name}")
    return Path(name), Place(task, kind)


def _refuse_taken(output: Path) -> None:
    if output.is_dir() and any(output.iterdir()):
        raise UsageError(
            f"{output} exists and is not empty", expected="a new name or an empty folder", hint="choose another name"
        )


def _read(places: Sequence[tuple[Path, Place]], prefixes: Prefixes) -> _Given:
    """Read each file once, whatever it is given for."""
    files: dict[Path, Source] = {}
    offered: list[Offered] = []
    used: set[str] = set()
    for path, place in places:
        if path not in files:
            files[path] = read_source(path)
        source = files[path]
        offered += offers(source, place, prefixes)
        used |= {prefixes.applied(unwrapped(name))[1] for name in source.tensors}
    if idle := [old for old in prefixes.renames if old not in used]:
        raise UsageError(
            f"--rename {idle[0]}={prefixes.renames[idle[0]]}",
            expected="the first components of some name",
            got="no name that begins so",
            hint="see the names with -v or --report",
        )
    return _Given(tuple(files.values()), tuple(offered))


def _refuse(spec: ModelSpec, matching: Matching, given: _Given) -> None:
    """Raise what is wrong, all of it at once, and what may be done about each kind."""
    if not matching.refused:
        return
    hints = list(_hints(matching, given))
    outline = f"preset {spec.preset}, {spec.transform}, {spec.context}, rates {spec.rates}, teacher {spec.teacher}"
    raise CheckpointError("\n".join([f"the weights are not those of {outline}:", matching.problems(), *hints]))


def _hints(matching: Matching, given: _Given) -> Iterator[str]:
    places = " ".join(matching.left_over)
    if any(name in STATISTICS for name in matching.missing):
        yield (
            f"The feature's mean and std: give --feature-statistics FILE, --feature-statistics {IDENTITY} for a codec "
            "that was trained on the feature as it is, or --photos DIR to measure them."
        )
    for part in ("prompts", "head"):
        for task in sorted({task_of(name) for name in matching.missing if name.startswith(f"{part}.")}):
            if not any(offer.target.startswith(f"{part}.{task}.") for offer in given.offered):
                yield f"The {part} of {task}: give --{part} {task}=FILE."
    if ": h_s." in places:
        yield "One h_s for means and scales is another network: this codec has h_mu and h_sigma."
    if ": p_" in places or ": backbone." in places:
        yield "Prompts or a head without a task's name: say whose they are with --task."
    if matching.missing or matching.left_over:
        yield (
            "Other names: --rename OLD=NEW. Not part of the codec: --ignore GLOB. To be trained later: "
            "--allow-missing GLOB."
        )
    if matching.unfit:
        yield "Shapes follow from --preset, --transform, --context, --rates and --teacher."


def _provenance(given: _Given, matching: Matching, statistics: _Statistics) -> Mapping[str, object]:
    return {
        "imported": {
            "sources": {source.file: source.sha256 for source in given.sources},
            "feature_statistics": statistics.origin,
            "kept_fresh": list(matching.allowed_missing),
            "ignored": list(matching.ignored),
        }
    }


def _save(output: Path, assembly: Assembly, provenance: Mapping[str, object], half: bool) -> str:
    """Write the whole folder beside, read it back, and only then give it its name."""
    with new_directory(output) as folder:
        digest = checkpoint.save(folder, assembly.codec, assembly.tasks, provenance, half=half)
        checkpoint.load(folder)
    return digest
