"""What the teacher itself makes of pixels: the judge of every codec, ours and the rivals'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptp_export.bundle.task_info import declared_resize, task_info
from ptp_model.teachers import Teacher
from ptp_runtime.coded_photo import coded_pixels
from ptp_runtime.tasks import TaskOutput
from ptp_runtime.tasks.dispatch import output_from_head


@dataclass(frozen=True)
class Answer:
    """The teacher's feature and output for one picture.

    Attributes:
        h: float32 [1, F, ceil(H/4), ceil(W/4)].
        output: in the pixels of the photograph.
    """

    h: NDArray[np.float32]
    output: TaskOutput


class Judge:
    """A teacher with the post-processing that the runtime has, so that only the codecs differ.

    Args:
        teacher: whole, of a task.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self._task = task_info(teacher.spec.task, teacher)
        self._resize = declared_resize(teacher)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by class number."""
        return self._task.classes

    def coded(self, photo: NDArray[np.uint8]) -> NDArray[Any]:
        """What every codec is given: the photograph [H, W, 3], after the resize or crop that the teacher declares.

        Returns:
            uint8, or float32 in 0..255 where it was resized.
        """
        return coded_pixels(photo, self._resize)

    @torch.inference_mode()
    def answer(self, pixels: NDArray[Any], photo_size: tuple[int, int]) -> Answer:
        """The teacher's answer.

        Args:
            pixels: [H', W', 3] in 0..255, as :meth:`coded` gives them, or as a codec decoded them.
            photo_size: height and width of the photograph.
        """
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        return self.answer_to(self._teacher.stem(image).numpy(), (pixels.shape[0], pixels.shape[1]), photo_size)

    @torch.inference_mode()
    def answer_to(self, h: NDArray[np.float32], coded_size: tuple[int, int], photo_size: tuple[int, int]) -> Answer:
        """What the rest of the teacher makes of a feature.

        Args:
            h: float32 [1, F, ceil(H/4), ceil(W/4)], its own or one that a codec decoded.
            coded_size: height and width of the pixels that it is the feature of.
            photo_size: of the photograph.
        """
        raw = self._teacher.tail(torch.from_numpy(h))
        named = {"cls_logits": raw[0], "box_deltas": raw[1]} if isinstance(raw, tuple) else {"logits": raw}
        arrays = {name: value.numpy() for name, value in named.items()}
        return Answer(h, output_from_head(self._task, arrays, coded_size, photo_size))
