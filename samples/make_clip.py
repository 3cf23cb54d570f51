"""Makes ``astronaut.mp4`` and ``astronaut.jsonl``: a real face that moves through the frame at several sizes.

The photo is NASA's portrait of Eileen Collins as scikit-image ships it. Its boxes were drawn by hand, once, on the
photo itself; the camera move is an affine map, so the boxes of every frame follow.

    pip install scikit-image facial-feature-rcnn && python samples/make_clip.py
"""

import json
import math
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data

WIDTH, HEIGHT = 640, 360
FRAMES, RATE = 144, 24
FACE_CENTRE = np.array([226.0, 128.0])
BOXES = {
    "face": [(181, 76, 270, 179)],
    "eye": [(191, 94, 215, 107), (233, 97, 261, 109)],
    "eyebrow": [(188, 84, 216, 97), (236, 89, 266, 100)],
    "nose": [(209, 97, 240, 133)],
    "mouth": [(201, 138, 250, 156)],
}


def camera(index: int) -> np.ndarray:
    """The 2x3 map from photo to frame ``index``: near and far again, from side to side, nodding a little."""
    t = 2 * math.pi * index / FRAMES
    scale = math.exp(math.log(1.4) + (math.log(2.7) - math.log(1.4)) * (0.5 - 0.5 * math.cos(t)))
    angle = math.radians(6 * math.sin(2 * t))
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    target = np.array([WIDTH / 2 + 240 * math.sin(t) / scale, HEIGHT / 2 + 12 * math.sin(3 * t)])
    return np.column_stack([linear, target - linear @ FACE_CENTRE])


def move(box: tuple[int, int, int, int], matrix: np.ndarray) -> list[float]:
    """Bounds of the ellipse inscribed in a mapped box, the rule that training uses for rotated boxes."""
    x1, y1, x2, y2 = box
    centre = matrix[:, :2] @ [(x1 + x2) / 2, (y1 + y2) / 2] + matrix[:, 2]
    half = np.sqrt(matrix[:, :2] ** 2 @ [((x2 - x1) / 2) ** 2, ((y2 - y1) / 2) ** 2])
    return [round(float(v), 2) for v in (*(centre - half), *(centre + half))]


def main() -> None:
    """Write the clip and its boxes beside this file."""
    folder = Path(__file__).parent
    portrait = skimage.data.astronaut()
    surround = cv2.GaussianBlur(cv2.resize(portrait, (WIDTH, WIDTH))[:HEIGHT], (0, 0), 25)
    with av.open(str(folder / "astronaut.mp4"), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"crf": "25", "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        with (folder / "astronaut.jsonl").open("w", encoding="utf-8") as truth:
            for index in range(FRAMES):
                matrix = camera(index)
                frame = surround.copy()
                # OpenCV counts from the centre of pixel 0, boxes from its edge.
                centred = np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ [0.5, 0.5] - 0.5])
                cv2.warpAffine(
                    portrait,
                    centred,
                    (WIDTH, HEIGHT),
                    dst=frame,
                    flags=cv2.INTER_AREA,
                    borderMode=cv2.BORDER_TRANSPARENT,
                )
                for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                    container.mux(packet)
                objects = [{"label": k, "box": move(box, matrix)} for k, boxes in BOXES.items() for box in boxes]
                truth.write(json.dumps({"frame": index, "objects": objects}) + "\n")
        for packet in stream.encode(None):
            container.mux(packet)


if __name__ == "__main__":
    main()
