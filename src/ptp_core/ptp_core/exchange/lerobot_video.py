# SPDX-License-Identifier: Apache-2.0
"""Videos of LeRobot's data sets: the episodes of one camera, one after the other in a file.

Encoders and their options are those of `lerobot/datasets/video_utils.py`: a keyframe every second
frame, so that single frames are found fast.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ptp_core.data.file_limits import LARGEST, OverBudget
from ptp_core.errors import DatasetError, InputError

CODECS = {
    # no B-frames: the first frame then has time 0
    "h264": ("libx264", {"g": "2", "crf": "18", "bf": "0"}),
    # no filter over time: it would mix the last images of an episode into the next one's first
    "av1": (
        "libsvtav1",
        {"g": "2", "crf": "30", "preset": "12", "svtav1-params": "enable-tf=0:lookahead=0"},
    ),
}
PIXELS = "yuv420p"


class VideoWriter:
    """Encodes images into one mp4 file."""

    def __init__(self, path: Path, shape: tuple[int, ...], fps: int, codec: str) -> None:
        """``shape``: (H, W, 3). InputError for sizes that the pixel format cannot hold."""
        import av

        height, width = shape[:2]
        if height % 2 or width % 2:
            raise InputError(
                f"images of {width} x {height} pixels: video needs even sides: store them as "
                "--images png"
            )
        self.frames = 0
        self.size = 0  # bytes so far; the encoder may hold some back
        path.parent.mkdir(parents=True, exist_ok=True)
        name, options = CODECS[codec]
        os.environ.setdefault("SVT_LOG", "1")  # of the encoder of av1: errors alone
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream(name, rate=fps, options=dict(options))
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = PIXELS

    def add(self, images: Iterable[np.ndarray]) -> None:
        """Append the images uint8 (H, W, 3) RGB of one episode, which begins with a keyframe."""
        import av
        from av.video.frame import PictureType

        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = self.frames
            frame.time_base = 1 / self._stream.average_rate
            frame.pict_type = PictureType.NONE if number else PictureType.I
            self._write(frame)
            self.frames += 1

    def close(self) -> None:
        """Write what the encoder holds back, and the index."""
        self._write(None)
        self._container.close()

    def _write(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self.size += packet.size
            self._container.mux(packet)


def video_info(path: Path) -> dict[str, Any]:
    """What info.json says of a video file, read back from it."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec_context.codec.canonical_name,
            "video.pix_fmt": stream.codec_context.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": int(stream.average_rate),
            "video.channels": 3,
            "has_audio": bool(container.streams.audio),
        }


def read_frames(path: Path, start: float, count: int, fps: float) -> Iterator[np.ndarray]:
    """Yield ``count`` frames uint8 (H, W, 3) from ``start`` [s] on, one every 1/fps s.

    Each is the frame nearest to its time, at most half a period away. Raises DatasetError where
    the file cannot be read or ends before.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if getattr(stream, "codec_context", None) is None:  # a codec that FFmpeg does not know
                raise ValueError("there is no decoder for its codec")
            if not stream.time_base:
                raise ValueError("its stream says no unit of time")
            if max(stream.width, stream.height) > LARGEST:
                raise OverBudget(
                    f"it declares {stream.width} x {stream.height} pixels, at most {LARGEST} a "
                    "side"
                )
            container.seek(max(int((start - 1 / fps) / stream.time_base), 0), stream=stream)
            yield from _nearest_frames(container.decode(stream), start, count, fps)
    # No stream is an IndexError.
    except (av.FFmpegError, OSError, ValueError, IndexError, RuntimeError) as error:
        raise DatasetError(f"{path}: cannot be read as a video ({_words(error)})") from error


def _nearest_frames(
    frames: Iterator[Any], start: float, count: int, fps: float
) -> Iterator[np.ndarray]:
    done, newest = 0, None
    for frame in frames:
        if frame.time is None:
            continue
        number = (frame.time - start) * fps
        if number < -0.5:
            continue
        # Frames come in the order of their times; a variable rate may lack one.
        while newest is not None and done < min(count, round(number)):
            if abs(newest[0] - done) > 0.5 + 1e-3:
                raise ValueError(f"no frame at {start + done / fps:.3f} s")
            yield newest[1]
            done += 1
        if done == count:
            return
        newest = (number, frame.to_ndarray(format="rgb24"))
    if newest is not None and done == count - 1 and abs(newest[0] - done) <= 0.5 + 1e-3:
        yield newest[1]
        done += 1
    if done < count:
        raise ValueError(f"it ends {count - done} frames before the episode")


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
