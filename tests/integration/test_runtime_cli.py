"""The command ``ptp`` as a user meets it: what it writes, what it says, and with which exit code it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptp_runtime.backends import selection
from ptp_runtime.cli import main
from ptp_runtime.errors import BackendNotAvailableError
from ptp_runtime.palette import voc_palette
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle

pytestmark = pytest.mark.runtime


@pytest.fixture(autouse=True)
def _pocket_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pocket model takes the place of ONNX Runtime, and there is nothing else."""

    def absent(_: int | None) -> Any:
        raise BackendNotAvailableError("nothing of that kind here", hint="use --backend cpu")

    monkeypatch.setattr(selection, "_open_cpu", lambda _: PocketBackend())
    openers = dict.fromkeys(selection._OPENERS, absent) | {"cpu": lambda _: PocketBackend()}
    monkeypatch.setattr(selection, "_OPENERS", openers)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """For segmentation."""
    return write_pocket_bundle(tmp_path / "bundle")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A noisy picture of 90×70 pixels."""
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``ptp``; gives exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_encode_then_decode(run: Run, bundle: Path, photo: Path, tmp_path: Path) -> None:
    stream, mask = tmp_path / "photo.ptp", tmp_path / "mask.png"

    code, out, err = run("encode", bundle, photo, "-o", stream)
    assert (code, err) == (0, "")
    assert f"{stream.stat().st_size} bytes" in out
    assert "bpp over the 90×70 pixels of the photo" in out
    assert "encoded in" in out

    code, out, err = run("decode", bundle, stream, "-o", mask)
    assert (code, err) == (0, "")
    assert "decoded in" in out
    with Image.open(mask) as image:
        assert (image.mode, image.size) == ("P", (90, 70))
        assert image.getpalette()[: 3 * 256] == voc_palette().ravel().tolist()
        assert set(np.unique(np.asarray(image))) <= set(range(5))


def test_json_says_the_same_to_machines(run: Run, bundle: Path, photo: Path, tmp_path: Path) -> None:
    stream = tmp_path / "photo.ptp"
    code, out, _ = run("encode", bundle, photo, "-o", stream, "--json")
    encoded = json.loads(out)
    assert code == 0
    assert encoded["bytes"] == stream.stat().st_size
    assert encoded["bpp"] == pytest.approx(8 * encoded["bytes"] / (90 * 70))
    assert encoded["bpp_over"]["width"] == 90
    assert encoded["milliseconds"]["total"] > 0
    assert encoded["backend"]["name"] == "pocket"
    assert "first that works" in encoded["backend"]["reason"]

    _, out, _ = run("decode", bundle, stream, "-o", tmp_path / "mask.png", "--json")
    assert sum(json.loads(out)["result"]["shares"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("task", "suffix"),
    [("seg", ".mask.png"), ("det", ".boxes.json"), ("cls", ".classes.json"), ("view", ".view.png")],
)
def test_infer_writes_three_files(run: Run, photo: Path, tmp_path: Path, task: str, suffix: str) -> None:
    bundle = write_pocket_bundle(tmp_path / task, task=task)

    code, out, err = run("infer", bundle, photo, "-o", tmp_path / "out")

    assert (code, err) == (0, "")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(["photo.ptp", f"photo{suffix}", "photo.overlay.png"])
    assert all(name in out for name in names)
    with Image.open(tmp_path / "out/photo.overlay.png") as overlay:
        assert overlay.mode == "RGB"
        assert overlay.width > 2 * 90
        assert overlay.height > 70
    if task == "det":
        boxes = json.loads((tmp_path / "out/photo.boxes.json").read_text())["boxes"]
        assert {"left", "top", "right", "bottom", "score", "label", "class"} == set(boxes[0])
    if task == "cls":
        answer = json.loads((tmp_path / "out/photo.classes.json").read_text())
        best = answer["classes"][0]
        assert {"class", "label", "score"} == set(best)
        assert best["score"] == pytest.approx(max(answer["probabilities"]), abs=1e-4)
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert f"classes: {best['class']} {best['score']:.1%}, " in out
    if task == "view":
        with Image.open(tmp_path / "out/photo.view.png") as view:
            assert (view.mode, view.size) == ("RGB", (90, 70))


def test_infer_into_a_folder_with_other_things(run: Run, bundle: Path, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("mine")

    assert run("infer", bundle, photo, "-o", tmp_path / "out")[0] == 0
    assert run("infer", bundle, photo, "-o", tmp_path / "out")[0] == 0

    assert (tmp_path / "out/thesis.tex").read_text() == "mine"
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_the_overlay_shows_the_photo_and_the_colours(run: Run, bundle: Path, photo: Path, tmp_path: Path) -> None:
    run("infer", bundle, photo, "-o", tmp_path / "out")

    with Image.open(tmp_path / "out/photo.overlay.png") as overlay, Image.open(photo) as original:
        panel = overlay.crop((8, 8, 8 + 256, 8 + 199))
        enlarged = original.resize((256, 199), Image.Resampling.NEAREST)
        assert np.array_equal(np.asarray(panel), np.asarray(enlarged))


def test_inspect_shows_a_bundle(run: Run, bundle: Path) -> None:
    code, out, err = run("inspect", bundle)

    assert (code, err) == (0, "")
    for word in ("seg (id 1)", "analysis", "step_03", "synthesis", "head", "identity", "engines: none", "numpy"):
        assert word in out


def test_inspect_shows_what_is_not_part_of_the_bundle(run: Run, bundle: Path) -> None:
    (bundle / "notes.txt").write_text("hello")

    assert "never used: notes.txt" in run("inspect", bundle)[1]
    assert json.loads(run("inspect", bundle, "--json")[1])["unlisted_files"] == ["notes.txt"]


def test_inspect_shows_a_stream(run: Run, bundle: Path, photo: Path, tmp_path: Path) -> None:
    run("encode", bundle, photo, "-o", tmp_path / "photo.ptp")

    code, out, err = run("inspect", tmp_path / "photo.ptp")
    values = json.loads(run("inspect", tmp_path / "photo.ptp", "--json")[1])

    assert (code, err) == (0, "")
    assert "over 90×70 pixels" in out
    assert (values["width"], values["height"], values["task"]) == (90, 70, 1)


def test_verbose_gives_the_reason(run: Run, bundle: Path, photo: Path, tmp_path: Path) -> None:
    _, _, err = run("--verbose", "encode", bundle, photo, "-o", tmp_path / "photo.ptp")

    assert "cpu is the first that works here" in err
    assert "nothing of that kind here" in err


def _damaged(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _failures(tmp_path: Path, bundle: Path, photo: Path) -> dict[str, tuple[list[object], int, str]]:
    """What went wrong: the arguments, the exit code and a word of the sentence."""
    good = tmp_path / "good.ptp"
    assert main(["encode", str(bundle), str(photo), "-o", str(good)]) == 0
    data = good.read_bytes()
    out = tmp_path / "result"
    altered = write_pocket_bundle(tmp_path / "altered")
    (altered / "graphs/head.json").write_bytes(b"{}")
    missing = write_pocket_bundle(tmp_path / "missing")
    (missing / "tables.bin").unlink()
    detection = write_pocket_bundle(tmp_path / "detection", task="det")
    small = write_pocket_bundle(tmp_path / "small", height=(64, 64), width=(64, 64))
    grey = tmp_path / "grey.png"
    Image.new("L", (8, 8)).save(grey)
    plain = tmp_path / "plain"
    plain.mkdir()
    return {
        "no photo": (["encode", bundle, tmp_path / "no.jpg", "-o", out], 3, "cannot be read"),
        "broken photo": (["encode", bundle, _damaged(tmp_path / "b.jpg", b"\xff\xd8"), "-o", out], 3, "b.jpg"),
        "grey photo": (["infer", bundle, grey, "-o", out], 3, "greyscale"),
        "no stream": (["decode", bundle, tmp_path / "no.ptp", "-o", out], 4, "cannot be read"),
        "empty stream": (["decode", bundle, _damaged(tmp_path / "e.ptp", b""), "-o", out], 4, "stream"),
        "cut stream": (["decode", bundle, _damaged(tmp_path / "c.ptp", data[:-9]), "-o", out], 4, "stream"),
        "flipped stream": (
            ["decode", bundle, _damaged(tmp_path / "f.ptp", data[:-1] + bytes([data[-1] ^ 1])), "-o", out],
            4,
            "CRC",
        ),
        "stream of another task": (["decode", detection, good, "-o", out], 4, "expected"),
        "a photo as a stream": (["decode", bundle, photo, "-o", out], 4, "stream"),
        "cut stream to inspect": (["inspect", _damaged(tmp_path / "i.ptp", data[:-9])], 4, "stream"),
        "no bundle": (["encode", tmp_path / "no", photo, "-o", out], 5, "there is no bundle"),
        "a folder as a bundle": (["encode", plain, photo, "-o", out], 5, "manifest.json is missing"),
        "a file as a bundle": (["encode", photo, photo, "-o", out], 5, "is no bundle"),
        "altered bundle": (["encode", altered, photo, "-o", out], 5, "graphs/head.json"),
        "altered bundle to inspect": (["inspect", altered], 5, "graphs/head.json"),
        "missing file": (["decode", missing, good, "-o", out], 5, "tables.bin"),
        "missing backend": (["encode", bundle, photo, "-o", out, "--backend", "cuda"], 6, "nothing of that kind"),
        "size of another export": (["encode", small, photo, "-o", out], 2, "exported for other sizes"),
        "output over the photo": (["encode", bundle, photo, "-o", photo], 2, "input itself"),
        "output over the stream": (["decode", bundle, good, "-o", good], 2, "input itself"),
        "output over the bundle": (["encode", bundle, photo, "-o", bundle], 2, "input itself"),
        "output is a folder": (["encode", bundle, photo, "-o", plain], 2, "cannot be written"),
        "output below nothing": (["encode", bundle, photo, "-o", tmp_path / "no/x"], 2, "cannot be written"),
        "a file as a folder": (["infer", bundle, photo, "-o", photo], 2, "is no directory"),
        "a bundle as a folder": (["infer", bundle, photo, "-o", bundle], 2, "is a bundle"),
        "no threads": (["encode", bundle, photo, "-o", out, "--threads", "0"], 2, "threads"),
        "no such backend": (["encode", bundle, photo, "-o", out, "--backend", "gpu"], 2, "backend"),
        "no output": (["encode", bundle, photo], 2, "output"),
        "no such command": (["transcode", bundle], 2, "transcode"),
    }


FAILURES = (
    "no photo",
    "broken photo",
    "grey photo",
    "no stream",
    "empty stream",
    "cut stream",
    "flipped stream",
    "stream of another task",
    "a photo as a stream",
    "cut stream to inspect",
    "no bundle",
    "a folder as a bundle",
    "a file as a bundle",
    "altered bundle",
    "altered bundle to inspect",
    "missing file",
    "missing backend",
    "size of another export",
    "output over the photo",
    "output over the stream",
    "output over the bundle",
    "output is a folder",
    "output below nothing",
    "a file as a folder",
    "a bundle as a folder",
    "no threads",
    "no such backend",
    "no output",
    "no such command",
)


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", FAILURES)
def test_what_goes_wrong_is_one_sentence(
    run: Run, capsys: pytest.CaptureFixture[str], bundle: Path, photo: Path, tmp_path: Path, name: str
) -> None:
    failures = _failures(tmp_path, bundle, photo)
    assert set(failures) == set(FAILURES)
    arguments, expected, word = failures[name]
    before = _snapshot(tmp_path)
    capsys.readouterr()

    code, out, err = run(*arguments)

    assert code == expected
    assert word in err
    assert "Traceback" not in err + out
    assert "internal error" not in err
    if expected != 2 or "Usage:" not in err:
        assert err.startswith("ptp: ")
        assert err.count("\n") == 1
        assert err.endswith(".\n")
    assert _snapshot(tmp_path) == before, "a file was left or touched"
    assert not (tmp_path / "result").exists()


def test_a_fault_of_ours_is_a_sentence_too(
    run: Run, bundle: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("something we did not think of")

    monkeypatch.setattr("ptp_runtime.session.network_input", fail)

    code, _, err = run("encode", bundle, photo, "-o", tmp_path / "photo.ptp")

    assert code == 70
    assert err.startswith("ptp: internal error (ZeroDivisionError: something we did not think of)")
    assert "Traceback" not in err
    code, _, err = run("--debug", "encode", bundle, photo, "-o", tmp_path / "photo.ptp")
    assert code == 70
    assert "Traceback" in err


def test_convert_takes_a_greyscale_photo(run: Run, bundle: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "grey.png")

    assert run("encode", bundle, tmp_path / "grey.png", "-o", tmp_path / "grey.ptp", "--convert")[0] == 0


@pytest.mark.parametrize("command", ["encode", "decode", "infer", "inspect", "doctor"])
def test_help_teaches_with_examples(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")

    assert code == 0
    assert f"ptp {command} " in out
    assert "Examples:" in out


def test_help_lists_every_command(run: Run) -> None:
    code, out, _ = run("--help")

    assert code == 0
    for command in ("encode", "decode", "infer", "inspect", "doctor", "export", "verify", "train", "import-checkpoint"):
        assert f"  {command} " in out


@pytest.mark.parametrize("command", ["export", "verify", "train", "import-checkpoint"])
def test_a_command_whose_packages_are_missing_names_the_extra(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    class Broken:
        name = command

        def load(self) -> None:
            raise ModuleNotFoundError("No module named 'torch'")

    monkeypatch.setattr("ptp_runtime.cli.group.entry_points", lambda group: [Broken()])
    code, _, err = run(command, "--help")
    assert code == 10
    assert "pip install 'ptp-deploy[export]'" in err
    assert "No module named 'torch'" in err

    monkeypatch.setattr("ptp_runtime.cli.group.entry_points", lambda group: [])
    code, _, err = run(command)
    assert code == 10
    assert "pip install 'ptp-deploy[export]'" in err


def test_a_command_of_another_package_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    class Point:
        name = "extra"

        def load(self) -> click.Command:
            return click.Command("extra", callback=lambda: click.echo("from elsewhere"))

    monkeypatch.setattr("ptp_runtime.cli.group.entry_points", lambda group: [Point()])

    assert run("extra") == (0, "from elsewhere\n", "")
    assert "extra" in run("--help")[1]


def test_help_loads_nothing_heavy(repository: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(repository / 'runtime')!r})\n"
        "from ptp_runtime.cli import main\n"
        "assert main(['--help']) == 0\n"
        "heavy = {'numba', 'numpy', 'PIL', 'torch', 'onnx', 'onnxruntime', 'tensorrt', 'tensorrt_rtx'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_the_package_loads_nothing_heavy(repository: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(repository / 'runtime')!r})\n"
        "import ptp_runtime\n"
        "assert 'Session' in dir(ptp_runtime)\n"
        "heavy = {'numba', 'numpy', 'PIL', 'onnxruntime'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert ptp_runtime.PtpError.exit_code == 1\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_python_m_is_the_same_command(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ptp_runtime", "inspect", "nothing-of-that-name"],
        capture_output=True,
        text=True,
        check=False,
        cwd=repository / "runtime",
    )

    assert done.returncode == 5
    assert done.stderr.startswith("ptp: there is no bundle at nothing-of-that-name")


def test_doctor_finds_this_machine_sound_or_says_what_is_broken(run: Run, bundle: Path) -> None:
    code, out, _ = run("doctor", bundle, "--json")
    report = json.loads(out)

    findings = {finding["subject"]: finding for finding in report["findings"]}
    assert code == (0 if report["ok"] else 1)
    assert {"Python", "numpy", "numba", "CPU", "kernel cache", "NVIDIA device", "coder and chain", "bundle"} <= set(
        findings
    )
    assert findings["coder and chain"]["status"] == "ok"
    assert findings["bundle"]["status"] == "ok"
    assert all(finding["hint"] for finding in report["findings"] if finding["status"] == "fail")
    text = run("doctor")[1]
    assert all(subject in text for subject in findings if subject not in ("bundle", "entropy path"))


def test_doctor_reports_a_broken_bundle(run: Run, bundle: Path) -> None:
    (bundle / "graphs/head.json").write_bytes(b"{}")

    code, out, _ = run("doctor", bundle, "--json")

    finding = json.loads(out)["findings"][-1]
    assert code == 1
    assert (finding["subject"], finding["status"]) == ("bundle", "fail")
    assert "graphs/head.json" in finding["detail"]
