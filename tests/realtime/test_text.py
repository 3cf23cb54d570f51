import numpy as np
import pytest

from realtime.drawing import text


def written(words, size_px=20):
    image = np.zeros((60, 400, 3), np.uint8)
    text.write(image, words, (10, 10), (255, 255, 255), size_px)
    return image


@pytest.mark.parametrize("word", ["Größe", "œil", "глаз", "μύτη", "鼻子", "はな", "코"])
def test_names_in_other_alphabets_are_drawn_as_they_are(word):
    assert text.drawable(word) == word
    assert not np.array_equal(written(word), written("".join(c if c.isascii() else "?" for c in word)))


def test_what_the_font_lacks_is_written_out_instead_of_question_marks():
    assert text.drawable("จมูก") == r"\u0e08\u0e21\u0e39\u0e01"
    assert text.drawable("nose 😀") == r"nose \U0001f600"


def test_line_ends_and_control_characters_of_hostile_names_do_not_reach_the_image():
    assert text.drawable("a\nb\x1bc\0") == r"a\nb\x1bc\x00"


def test_letters_with_separate_accents_are_joined():
    assert text.drawable("nez e\u0301") == "nez \u00e9"


def test_a_real_question_mark_stays():
    assert text.drawable("what?") == "what?"


def test_letters_are_smooth():
    assert len(np.unique(written("eyebrow"))) > 20  # not black and white alone


@pytest.mark.parametrize("size_px", [11, 20, 54])
def test_text_stays_within_the_place_that_is_kept_for_it(size_px):
    image = np.zeros((200, 800, 3), np.uint8)
    words = "Ågjy 100"
    text.write(image, words, (50, 50), (255, 255, 255), size_px)
    rows, columns = np.flatnonzero(image.any(axis=(1, 2))), np.flatnonzero(image.any(axis=(0, 2)))
    assert rows.min() >= 50
    assert rows.max() < 50 + text.height_px(size_px)
    assert columns.min() >= 50
    assert columns.max() <= 50 + text.width_px(words, size_px)


@pytest.mark.parametrize(("shape", "expected_px"), [((180, 320, 3), 11), ((720, 1280, 3), 18), ((3840, 2160, 3), 54)])
def test_the_size_goes_by_the_shorter_side(shape, expected_px):
    assert text.size_for(np.empty(shape, np.uint8)) == expected_px
