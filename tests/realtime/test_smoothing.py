import numpy as np
import pytest

from realtime.faces.one_euro import MAX_GAP_S, BoxSmoother

SIDE_PX = 640
BOX = np.array([[100.0, 80.0, 220.0, 230.0]])


def smoothed(boxes, times_s, side_px=SIDE_PX):
    """Boxes (T,N,4) at these times through one smoother."""
    smoother = BoxSmoother(boxes.shape[1])
    steps = np.diff(times_s, prepend=times_s[0] - 1)
    return np.array([smoother(now, step, side_px) for now, step in zip(boxes, steps, strict=True)])


def trembling(times_s, seed=0):
    """One still box whose edges tremble by a third of a pixel."""
    return BOX + np.random.default_rng(seed).normal(0, 0.3, (len(times_s), 1, 4))


def moving(times_s, speed_px):
    """One box that moves to the right at this many pixels per second."""
    return BOX + (np.asarray(times_s) * speed_px)[:, None, None] * np.array([1, 0, 1, 0])


def regular(frame_rate, seconds=8.0):
    return np.arange(round(seconds * frame_rate)) / frame_rate


@pytest.mark.parametrize("frame_rate", [12, 24, 30, 60])
def test_a_trembling_box_is_held_still(frame_rate):
    times = regular(frame_rate)
    raw, steady = trembling(times), smoothed(trembling(times), times)
    settled = frame_rate
    assert (steady[settled:].std(axis=0) < 0.5 * raw[settled:].std(axis=0)).all()
    assert steady[settled:].mean(axis=0) == pytest.approx(BOX, abs=0.2)


@pytest.mark.parametrize("frame_rate", [12, 24, 30])
@pytest.mark.parametrize("speed_px", [32, 64, 256, 1024])
def test_a_moving_box_is_less_than_a_frame_behind(frame_rate, speed_px):
    times = regular(frame_rate, 4)
    behind = (moving(times, speed_px) - smoothed(moving(times, speed_px), times))[frame_rate:, 0]
    assert (behind[:, [0, 2]] < speed_px / frame_rate).all()
    assert behind[:, [0, 2]].min() > 0
    assert behind[:, [1, 3]] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("speed_px", [1, 10, 100, 1000])
def test_a_moving_box_is_never_more_than_a_pixel_in_640_behind(speed_px):
    times = regular(30)
    behind = moving(times, speed_px) - smoothed(moving(times, speed_px), times)
    assert behind[60:].max() < 1


def test_irregular_times_are_smoothed_like_regular_ones():
    """The same way, seen at 60 frames/s and at times of which some are missing, ends at the same place."""
    times = regular(60, 4)
    way = BOX + (30 * np.sin(times * 2))[:, None, None]
    kept = np.sort(np.random.default_rng(1).choice(len(times), 160, replace=False))
    fine, coarse = smoothed(way, times)[kept], smoothed(way[kept], times[kept])
    assert np.abs(fine - coarse)[20:].max() < 0.5
    assert np.abs(coarse - way[kept]).max() < 2


def test_images_of_any_size_are_smoothed_alike():
    times = regular(30, 3)
    boxes = trembling(times) + (moving(times, 40) - BOX)
    assert smoothed(6 * boxes, times, 6 * SIDE_PX) == pytest.approx(6 * smoothed(boxes, times))


def test_the_first_box_is_taken_as_it_is():
    assert BoxSmoother(1)(BOX, 1 / 30, SIDE_PX) == pytest.approx(BOX)


def test_boxes_do_not_touch_each_other_and_missing_ones_stay_missing():
    times = regular(30, 1)
    one, two = trembling(times, 1), trembling(times, 2)
    both = np.concatenate([one, two], axis=1)
    both[10:12, 1] = np.nan
    steady = smoothed(both, times)
    assert steady[:, :1] == pytest.approx(smoothed(one, times))
    assert np.isnan(steady[10:12, 1]).all()
    assert np.isnan(steady).sum() == 8


def test_a_short_absence_is_bridged_and_a_long_one_begins_anew():
    def after(absent_s):
        smoother = BoxSmoother(1)
        for _ in range(60):
            smoother(BOX, 1 / 30, SIDE_PX)
        for _ in range(round(absent_s * 30) - 1):
            assert np.isnan(smoother(np.full((1, 4), np.nan), 1 / 30, SIDE_PX)).all()
        return smoother(BOX + 2, 1 / 30, SIDE_PX)

    short, long = after(2 / 30), after(MAX_GAP_S + 0.1)
    assert (short > BOX).all()
    assert (short < BOX + 1.5).all()
    assert long == pytest.approx(BOX + 2)


def test_after_a_gap_in_time_it_begins_anew():
    smoother = BoxSmoother(1)
    smoother(BOX, 1 / 30, SIDE_PX)
    assert smoother(BOX + 50, MAX_GAP_S + 0.1, SIDE_PX) == pytest.approx(BOX + 50)
