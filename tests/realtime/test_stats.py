import pytest

from realtime.stats import WINDOW, Stopwatch


def test_percentiles_of_a_long_run_are_those_of_its_last_frames():
    stopwatch = Stopwatch()
    for _ in range(WINDOW // 2):
        stopwatch.add("infer", 1000.0)
    for i in range(WINDOW):
        stopwatch.add("infer", i * 0.01)
    infer = stopwatch.summary(frames=15_000, dropped=0).stages_ms["infer"]
    assert infer == pytest.approx({"p50": 50, "p95": 95, "p99": 99}, rel=1e-3)


def test_a_short_run_has_the_percentiles_of_what_there_was():
    stopwatch = Stopwatch()
    stopwatch.add("read", 3.0)
    assert stopwatch.summary(frames=1, dropped=0).stages_ms == {"read": {"p50": 3.0, "p95": 3.0, "p99": 3.0}}
