"""Frames of videos: evenly spaced, exact, and plain words for what is no video."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.clips import make_clip
from vipcli.errors import ImageError
from vipcli.pictures.videos import is_video, load_video

ALL = 10**9


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


@pytest.mark.parametrize(
    ("count", "chosen"),
    [(1, (0,)), (2, (0, 29)), (4, (0, 10, 19, 29)), (30, tuple(range(30))), (100, tuple(range(30)))],
)
def test_frames_are_evenly_spaced_from_first_to_last(clip: Path, count: int, chosen: tuple[int, ...]) -> None:
    video, pictures = load_video(str(clip), count, max_pixels=ALL)
    assert video.chosen == chosen
    assert (video.frames, video.rate) == (30, 10)
    for position, picture in zip(chosen, pictures, strict=True):
        assert picture.pixels.shape == (120, 160, 3)
        # Red comes first, and compression may shift it a little.
        red, green, blue = picture.pixels[60, 80].tolist()
        assert abs(red - 8 * position) < 8 and green < 8 and blue < 8
        assert picture.name == f"{clip}#{position}"
    assert len({picture.sha256 for picture in pictures}) == 1


def test_a_file_cut_short_gives_the_frames_that_it_holds(tmp_path: Path) -> None:
    whole = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for number in range(30):
        writer.write(np.full((120, 160, 3), 8 * number, np.uint8))
    writer.release()
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    video, pictures = load_video(str(whole), 4, max_pixels=ALL)
    assert len(pictures) == 4
    assert video.chosen[-1] < 20


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.mp4", None, "There is no file '.*missing.mp4'"),
        ("text.mp4", b"not a video at all", r"is not a video that can be read\. Convert"),
        ("empty.mp4", b"", r"is not a video that can be read\. Convert"),
    ],
)
def test_what_is_no_video_is_told(
    tmp_path: Path, name: str, content: bytes | None, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=message):
        load_video(str(path), 4, max_pixels=ALL)
    assert capfd.readouterr() == ("", "")


def test_frames_up_to_one_that_cannot_be_decoded(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The header counts thirty, of which only the first five can be reached, however often one looks.
    capture = cv2.VideoCapture

    class Short:
        def __init__(self, *arguments: object) -> None:
            self._capture, self._left = capture(*arguments), 5

        def __getattr__(self, name: str) -> object:
            return getattr(self._capture, name)

        def retrieve(self) -> tuple[bool, object]:
            self._left -= 1
            return self._capture.retrieve() if self._left >= 0 else (False, None)

    monkeypatch.setattr(cv2, "VideoCapture", Short)
    video, pictures = load_video(str(clip), 10, max_pixels=ALL)
    assert len(video.chosen) == len(pictures) == 5


def test_frames_too_large_are_refused(clip: Path) -> None:
    with pytest.raises(ImageError, match=r"160 × 120 pixels, more than 1,000"):
        load_video(str(clip), 4, max_pixels=1000)


@pytest.mark.parametrize(
    ("name", "video"), [("a.mp4", True), ("A.MOV", True), ("a.png", False), ("-", False), ("mp4", False)]
)
def test_a_video_is_known_by_its_name(name: str, video: bool) -> None:
    assert is_video(name) is video
