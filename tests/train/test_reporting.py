import io
import re
from types import SimpleNamespace

import numpy as np
from rich.console import Console

from train.evaluation.matching import Boxes
from train.evaluation.metrics import evaluate_boxes
from train.loop import reporting
from train.loop.reporting import LineReporter, LiveReporter, Status, make_reporter

PARTS = {"loss": 1.25, "loss_classifier": 0.4, "loss_box_reg": 0.5, "loss_objectness": 0.3, "loss_rpn_box_reg": 0.05}
STATUS = Status(12, 100, 30, 494, PARTS, 0.0123, 24.56, 4170.0)
LOSSES = "loss 1.250  classifier 0.400  box_reg 0.500  objectness 0.300  rpn_box_reg 0.050"
SPEED = "lr 0.0123  24.6 images/s  1:10 h left"


def some_metrics():
    box = np.array([[0, 0, 10, 10]], np.float32)
    found = [Boxes(box, np.array([1]), np.array([0.9], np.float32))]
    return evaluate_boxes(found, found, ("face",))


def test_lines_are_printed_for_windows_of_the_log_only(capsys):
    with LineReporter() as reporter:
        reporter.step(STATUS, is_logged=False)
        reporter.step(STATUS, is_logged=True)
    assert capsys.readouterr().out == f"epoch 12/100 step 30/494  {LOSSES}  {SPEED}\n"


def test_short_epochs_are_reported_twice_a_minute(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(reporting, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with make_reporter(is_main=True, sparse=True) as reporter:
        for _ in range(62):
            now[0] += 1
            reporter.step(STATUS, is_logged=True)
        reporter.validated(12, None, some_metrics())
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"epoch 12/100  {LOSSES}  {SPEED}"] * 2 + ["epoch 12 on val: mAP50-95 1.000  F1 1.000"]


def test_live_display_shows_every_step_and_keeps_the_last_metrics_in_sight():
    screen = io.StringIO()
    with LiveReporter(Console(file=screen, force_terminal=True, width=80)) as reporter:
        reporter.step(STATUS, is_logged=False)
        reporter.validated(2, 5, some_metrics())
        reporter.step(STATUS, is_logged=False)
    shown = screen.getvalue()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").splitlines()
    assert any(line.startswith("epoch 12/100 ") and line.rstrip().endswith(f" 30/494  {SPEED}") for line in lines)
    assert any(line.rstrip() == LOSSES for line in lines)
    assert "epoch 2/5 on val:" in lines
    assert any(line.rstrip() == "epoch 2 on val: mAP50-95 1.000  F1 1.000" for line in lines)


def test_a_process_that_is_not_the_main_one_is_silent(capsys):
    with make_reporter(is_main=False) as reporter:
        reporter.message("hello")
        reporter.step(STATUS, is_logged=True)
        reporter.validated(2, 5, some_metrics())
    assert capsys.readouterr().out == ""


def test_output_that_is_no_terminal_gets_lines(capsys):
    with make_reporter(is_main=True) as reporter:
        reporter.message("hello [bold]")
    assert capsys.readouterr().out == "hello [bold]\n"
