"""Bodies of the service's protocols as targets: HTTP from bytes to the answer's body, gRPC to the request."""

from __future__ import annotations

import base64
import io
import json
import random
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from tests.fuzz.mutations import damaged, forged_stream

from ptp_runtime import SharedSession
from ptp_runtime.errors import RequestError
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.service.serve.catalogue import Catalogue
from ptp_runtime.service.serve.http_messages import body_from_response, request_from_body
from ptp_runtime.service.serve.limits import Limits
from ptp_runtime.service.serve.work import PixelBudget

MIB = 1 << 20
LIMITS = Limits(body_bytes=MIB, pixels=1 << 16, photos=8)
_SIZE = 4


class HttpBody:
    """A body, and before it 4 bytes of what its header says of the JSON's length; all models of the pocket codec."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ptp-fuzz-")
        bundle = write_pocket_bundle(
            Path(self._folder.name) / "bundle", mode="integer", height=(64, 512), width=(64, 512)
        )
        catalogue = Catalogue({"": [SharedSession.open(bundle, PocketBackend())]})
        self._models = list(catalogue)
        self._budget = PixelBudget(LIMITS.pixels)
        photo = np.random.default_rng(1).integers(0, 256, (33, 50, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(photo).save(file, "PNG")
        self._photo, self._stream = file.getvalue(), catalogue.model("seg_encode").session.encode(photo)
        self.samples = [_with_size(0, self._photo), _with_size(0, self._stream)]
        for name, element in (("PHOTO", self._photo), ("STREAM", self._stream)):
            text = base64.b64encode(element).decode()
            entry = {"name": name, "datatype": "BYTES", "shape": [1]}
            self.samples.append(_json(entry | {"data": [text], "parameters": {"content_type": "base64"}}))
            raw = len(element).to_bytes(4, "little") + element
            self.samples.append(_json(entry | {"parameters": {"binary_data_size": len(raw)}}, raw))
        small = photo[:6, :5]
        self.samples.append(
            _json({"name": "PHOTO", "datatype": "UINT8", "shape": list(small.shape), "data": small.tolist()})
        )

    def mutate(self, chance: random.Random, data: bytes) -> bytes:
        """In the JSON, in what follows it, in the length between them, or in the stream with a CRC that fits."""
        kind = chance.randrange(4)
        size = int.from_bytes(data[:_SIZE], "little")
        head, rest = data[_SIZE : _SIZE + size], data[_SIZE + size :]
        if kind == 0 and size:
            head = damaged(chance, head, [sample[_SIZE:200] for sample in self.samples])
            return _with_size(len(head), head + rest)
        if kind == 1 and rest:
            return _with_size(size, head + damaged(chance, rest, [self._photo, self._stream]))
        if kind == 2 and self._stream in rest:
            return _with_size(
                size, head + rest.replace(self._stream, forged_stream(chance, self._stream, [self._stream]))
            )
        return damaged(chance, data, self.samples)

    def bound(self, data: bytes) -> int:
        """JSON becomes Python objects; then there are as many pixels as the service works on at a time."""
        return MIB + 64 * len(data) + 24 * LIMITS.pixels

    def read(self, data: bytes) -> None:
        """As the service does, for each model in turn."""
        size, body = int.from_bytes(data[:_SIZE], "little"), data[_SIZE:]
        model = self._models[len(data) % len(self._models)]
        if b"STREAM" in body[:200] or body[:2] == b"PT":
            model = self._models[1]
        request, wanted = request_from_body(body, size, {"outputs": "RESULT"} if size == 0 else {}, model)
        plan = model.plan(request, LIMITS, self._budget)
        body_from_response(plan.answer([job() for job in plan.jobs]), wanted)


class GrpcMessage:
    """A ``ModelInferRequest``."""

    def __init__(self) -> None:
        from ptp_runtime.service.serve.grpc_messages import MESSAGES

        self._message = MESSAGES["ModelInferRequest"]
        sample = self._message(model_name="seg_infer", id="seven")
        sample.parameters["rate"].int64_param = 1
        sample.inputs.add(name="PHOTO", datatype="BYTES", shape=[2])
        sample.inputs.add(name="RATE", datatype="INT32", shape=[1])
        sample.outputs.add(name="STREAM")
        sample.raw_input_contents.extend([b"\x03\0\0\0abc\x00\0\0\0", b"\x01\0\0\0"])
        other = self._message(model_name="seg_infer")
        other.inputs.add(name="PHOTO", datatype="UINT8", shape=[1, 2, 3]).contents.uint_contents.extend(range(6))
        self.samples = [sample.SerializeToString(), other.SerializeToString()]

    def mutate(self, chance: random.Random, data: bytes) -> bytes:
        """Anywhere."""
        return damaged(chance, data, self.samples)

    def bound(self, data: bytes) -> int:
        """Values become Python objects."""
        return MIB + 256 * len(data)

    def read(self, data: bytes) -> None:
        """What protobuf refuses, gRPC answers without us."""
        from google.protobuf.message import DecodeError

        from ptp_runtime.service.serve.grpc_service import request_from_message

        try:
            message = self._message.FromString(data)
        except DecodeError as error:
            raise RequestError("no message") from error
        request_from_message(message)


def _with_size(size: int, body: bytes) -> bytes:
    return size.to_bytes(_SIZE, "little") + body


def _json(entry: dict[str, object], rest: bytes = b"") -> bytes:
    head = json.dumps({"inputs": [entry], "outputs": [{"name": "RESULT"}]}).encode()
    return _with_size(len(head), head + rest)
