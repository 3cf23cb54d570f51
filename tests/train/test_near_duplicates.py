import cv2
import numpy as np
import pytest
from tiny_data import noise_image

from realtime.near_duplicates import MIN_CORRELATION, SIDE_PX, SeenImages, near_duplicates
from realtime.near_duplicates import local_contrast as contrast_of_grey

PHOTO = noise_image(192, 256, 1)


def local_contrast(rgb: np.ndarray) -> np.ndarray:
    return contrast_of_grey(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


def recompressed(image: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


COPIES = {
    "another size": lambda image: cv2.resize(image, (100, 75), interpolation=cv2.INTER_AREA),
    "another quality": recompressed,
    "grey": lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    "darker": lambda image: (image * 0.4).astype(np.uint8),
    "pale": lambda image: (image * 0.5 + 120).astype(np.uint8),
    "mirrored": lambda image: image[:, ::-1].copy(),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
def test_a_copy_is_found_among_others(change):
    others = [local_contrast(noise_image(192, 256, seed)) for seed in range(10)]  # PHOTO is number 1

    [(index, other, correlation)] = near_duplicates([local_contrast(change(PHOTO))], others)

    assert (index, other) == (0, 1)
    assert MIN_CORRELATION <= correlation <= 1.001


def test_other_images_do_not_look_alike():
    known = [local_contrast(noise_image(192, 256, seed)) for seed in range(40)]
    asked = [local_contrast(noise_image(192, 256, seed)) for seed in range(100, 140)]

    assert list(near_duplicates(asked, known)) == []


def test_images_of_one_colour_look_like_nothing():
    flat = local_contrast(np.full((60, 80, 3), 114, np.uint8))

    assert flat.shape == (SIDE_PX, SIDE_PX)
    assert not flat.any()
    assert list(near_duplicates([flat], [flat, local_contrast(PHOTO)])) == []


def test_many_images_are_compared_in_parts(monkeypatch):
    monkeypatch.setattr("realtime.near_duplicates.CHUNK", 3)
    contrasts = [local_contrast(noise_image(64, 64, seed)) for seed in range(8)]

    found = [(i, j) for i, j, _ in near_duplicates(contrasts, contrasts[::-1])]

    assert found == [(i, 7 - i) for i in range(8)]
    assert list(near_duplicates([], contrasts)) == list(near_duplicates(contrasts, [])) == []


def test_images_one_by_one_have_the_near_duplicates_that_all_at_once_have():
    images = [noise_image(96, 128, seed) for seed in range(40)]
    images += [change(images[i]) for i, change in enumerate(COPIES.values())]
    # Mixtures of two images, from plain copies to other images, on both sides of the limit.
    images += [cv2.addWeighted(images[0], share, images[1], 1 - share, 0) for share in np.linspace(0.6, 1, 21)]
    images.append(np.full((96, 128, 3), 90, np.uint8))
    contrasts = [local_contrast(image) for image in images]
    seen, kept, found = SeenImages(), [], []

    for contrast in contrasts:
        found.append(seen.has_near_duplicate(contrast))
        assert found[-1] == any(near_duplicates([contrast], kept))
        if not found[-1]:
            seen.add(contrast)
            kept.append(contrast)

    assert found[40:46] == 6 * [True]
    assert True in found[46:67]
    assert False in found[46:67]
    assert len(seen) == len(kept)


def test_only_images_that_resemble_one_are_compared_in_full():
    seen = SeenImages()
    for seed in range(1100):  # more than one block
        seen.add(local_contrast(noise_image(48, 48, seed)))

    found = [seen.candidates(local_contrast(noise_image(48, 48, seed)[:, ::-1])).tolist() for seed in (3, 1099, 5000)]

    assert found == [[3], [1099], []]
