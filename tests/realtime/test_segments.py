"""Long videos that several workers share: the results are those of one process."""

from fractions import Fraction

import av
import numpy as np
import pytest
from fakes import make_video, stub_model
from made_videos import Kind, make
from typer.testing import CliRunner

from realtime.batch import segmented
from realtime.batch.cuts import Cuts, find_cuts
from realtime.batch.segmented import SegmentedExecutor
from realtime.batch.tasks import Outcome, Task, attempt
from realtime.cli import app
from realtime.commands import batching, video_batch
from realtime.commands.segment_worker import AHEAD_S
from realtime.errors import SourceError
from realtime.sinks.video_parts import decoding_times

CPU = ("--model", "m.onnx", "--provider", "cpu")


@pytest.fixture
def long(tmp_path, monkeypatch):
    """A video of 8 s with sound, B-frames and a key frame a second, and a threshold of length to match."""
    monkeypatch.setattr(segmented, "PART_S", 2.0)
    monkeypatch.setattr(segmented, "MIN_BYTES", 1)
    make(tmp_path / "in.mp4", Kind(frames=200, languages=("eng",), options={"bf": "2", "g": "25", "sc_threshold": "0"}))
    stub_model(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(video_batch, "executor_for", lambda _, spec, __: Here(spec))
    return tmp_path


class Here:
    """Does the steps in this process, which starts faster than another one."""

    lost_workers = False

    def __init__(self, spec):
        self._spec = spec

    def run(self, tasks):
        worker = self._spec.open(None)
        while (task := next(tasks, None)) is not None:
            yield task, attempt(worker, task)

    def close(self):
        pass


def realtime(*arguments):
    done = CliRunner().invoke(app, [*arguments, *CPU])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stderr.splitlines()


def frames_of(path):
    with av.open(str(path)) as container:
        return [(f.time, f.to_ndarray(format="gray").mean()) for f in container.decode(video=0)]


def sound_of(path):
    with av.open(str(path)) as container:
        return [(packet.pts, bytes(packet)) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize(
    ("more", "frames"),
    [
        ([], 200),
        (["--blur"], 200),
        (["--raw", "--codec", "hevc"], 200),
        (["--start", "1.3", "--duration", "5.5"], 137),
        (["--duration", "7.01"], 176),
    ],
)
def test_a_video_in_parts_is_as_in_one(long, more, frames):
    tables = ("--jsonl", "{}.jsonl", "--csv", "{}.csv")
    for name, workers in (("one", []), ("two", ["--workers", "2"])):
        code, lines = realtime(
            "video", "in.mp4", "--out", f"{name}.mp4", *(part.format(name) for part in tables), *workers, *more
        )
        assert code == 0
    assert f"[1/1] in.mp4: {frames} frames, 1 face, in 4 parts; wrote two.mp4, two.jsonl and two.csv" in lines
    for suffix in ("jsonl", "csv"):
        assert (long / f"two.{suffix}").read_bytes() == (long / f"one.{suffix}").read_bytes()
    one, two = frames_of(long / "one.mp4"), frames_of(long / "two.mp4")
    assert [time for time, _ in two] == [time for time, _ in one]
    assert np.abs(np.array([grey for _, grey in two]) - [grey for _, grey in one]).max() < 4
    assert sound_of(long / "two.mp4") == sound_of(long / "one.mp4")
    assert sorted(path.name for path in (long / ".realtime").iterdir()) == ["claims", "records", "summary.json", "work"]
    assert not list((long / ".realtime" / "work").iterdir())


@pytest.mark.parametrize("more", [[], ["--out", "{}.mp4", "--start", "1.3"]])
def test_crops_in_parts_are_as_in_one(long, more):
    for name, workers in (("one", []), ("two", ["--workers", "2"])):
        assert realtime("video", "in.mp4", "--crops", name, *(part.format(name) for part in more), *workers)[0] == 0
    one, two = ({path.name: path.read_bytes() for path in (long / name).iterdir()} for name in ("one", "two"))
    assert len(one) == 2 * (167 if more else 200)
    assert two == one
    assert sorted(path.name for path in long.iterdir() if path.is_dir()) == [".realtime", "one", "two"]


def test_places_that_cannot_be_written_are_refused_before_the_work(long):
    (long / "crops").mkdir()
    (long / "crops" / "mine.txt").write_text("")
    code, lines = realtime("video", "in.mp4", "--jsonl", "in.jsonl", "--crops", "crops", "--workers", "2")
    assert code == 1
    assert lines[0] == "error: cannot write to crops: it is not an empty folder; choose another name"
    assert not list(long.glob("*.jsonl"))


def test_processes_do_what_this_one_does(long, monkeypatch):
    monkeypatch.setattr(video_batch, "executor_for", batching.executor_for)
    for name in ("one", "two"):
        workers = ("--workers", "2") if name == "two" else ()
        assert realtime("video", "in.mp4", "--out", f"{name}.mp4", "--jsonl", f"{name}.jsonl", *workers)[0] == 0
    assert (long / "two.jsonl").read_bytes() == (long / "one.jsonl").read_bytes()
    assert [time for time, _ in frames_of(long / "two.mp4")] == [time for time, _ in frames_of(long / "one.mp4")]


def test_times_of_a_variable_frame_rate_are_kept(long):
    pts = np.cumsum([0, *(20 + 90 * (i % 5 == 0) for i in range(199))]).tolist()
    make(long / "in.mkv", Kind(frames=200, pts=pts, options={"bf": "2", "g": "20"}))
    for name, workers in (("one", []), ("two", ["--workers", "2"])):
        assert realtime("video", "in.mkv", "--out", f"{name}.mkv", *workers)[0] == 0
    assert [time for time, _ in frames_of(long / "two.mkv")] == [time for time, _ in frames_of(long / "one.mkv")]


def test_a_damaged_video_is_done_as_a_whole(long):
    data = bytearray((long / "in.mp4").read_bytes())
    with av.open(str(long / "in.mp4")) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.pos]
    data[places[60] + 5 : places[60] + 40] = b"\xff" * 35
    (long / "in.mp4").write_bytes(data)
    with pytest.raises(SourceError, match="is damaged"):
        realtime("video", "in.mp4", "--jsonl", "one.jsonl")
    code, lines = realtime("video", "in.mp4", "--jsonl", "two.jsonl", "--workers", "2")
    assert code == 1
    assert any(line.startswith("error: in.mp4 is damaged") for line in lines)
    assert (long / "two.jsonl").read_bytes() == (long / "one.jsonl").read_bytes()


def test_parts_begin_at_key_frames_and_hold_every_frame_once(long):
    cuts = find_cuts(long / "in.mp4", 2.0)
    assert cuts.first_frames == (0, 50, 100, 150)
    assert cuts.starts_s == (0.0, 2.0, 4.0, 6.0)
    cuts.save(long / "cuts.json")
    assert Cuts.load(long / "cuts.json") == cuts
    times = []
    for part in range(cuts.parts):
        source, first = cuts.open_part(long / "in.mp4", part)
        assert first == cuts.first_frames[part]
        with source:
            while (frame := source.read()) is not None:
                times.append(frame.pts_s)
    assert times == list(cuts.pts_s)
    source, first = cuts.open_part(long / "in.mp4", 2, ahead_s=0.5)
    source.close()
    assert first == 88


@pytest.mark.parametrize(
    ("part_s", "workers", "first_frames"),
    [
        (3.0, 1, (0, 75, 125)),
        (4.0, 1, (0, 100)),
        (4.0, 2, (0, 100)),
        (3.0, 2, (0, 50, 100, 150)),  # each worker has two parts
        (2.0, 3, (0, 25, 75, 100, 125, 175)),
        (4.0, 16, (0, 75, 125)),  # no part is much shorter than half of what was asked for
    ],
)
def test_parts_are_equal_and_as_many_for_each_worker(long, part_s, workers, first_frames):
    assert find_cuts(long / "in.mp4", part_s, workers=workers).first_frames == first_frames


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize(("reach", "ahead_s"), [("auto", 0.0), ("near", 0.0), ("3x2", AHEAD_S)])
def test_frames_before_a_part_are_looked_at_only_if_they_matter(monkeypatch, reach, ahead_s):
    opened = []

    def noted(self, path, part, ahead_s=0.0):
        opened.append(ahead_s)
        return open_part(self, path, part, ahead_s)

    open_part = Cuts.open_part
    monkeypatch.setattr(Cuts, "open_part", noted)
    assert realtime("video", "in.mp4", "--jsonl", "in.jsonl", "--reach", reach, "--workers", "2")[0] == 0
    assert opened == [ahead_s] * 4


@pytest.mark.parametrize(
    ("name", "options"),
    [("short.mp4", {"frames": 60}), ("joined.ts", {"frames": 200}), ("raw.h264", {"frames": 200})],
)
def test_short_videos_and_those_without_reliable_times_are_not_cut(tmp_path, name, options):
    make_video(tmp_path / name, time_base=Fraction(1, 1000), **options)
    assert find_cuts(tmp_path / name, 2.0) is None


def test_decoding_times_are_those_of_an_encoder(long):
    with av.open(str(long / "in.mp4")) as container:
        packets = [(packet.pts, packet.dts) for packet in container.demux(video=0) if packet.size]
    pts, dts = (np.array(column) for column in zip(*packets, strict=True))
    made = decoding_times(pts)
    assert (np.diff(made) > 0).all()
    assert (made <= pts).all()
    assert (made >= dts).all()
    assert decoding_times(np.array([7])).tolist() == [7]


class Scripted:
    """Gives scripted outcomes to steps."""

    lost_workers = False

    def __init__(self, outcomes):
        self.steps, self._outcomes = [], outcomes

    def run(self, tasks):
        for task in tasks:
            kind = task.step.kind if task.step else "whole"
            self.steps.append(kind)
            yield task, self._outcomes.get(kind, Outcome(data={"parts": 3} if kind == "cut" else {}))

    def close(self):
        pass


@pytest.mark.parametrize(
    ("outputs", "outcomes", "steps"),
    [
        (["out", "jsonl"], {}, ["cut", *["detect"] * 3, "track", *["draw"] * 3, "join"]),
        (["jsonl"], {}, ["cut", *["detect"] * 3, "track"]),
        (["crops"], {}, ["cut", *["detect"] * 3, "track", *["draw"] * 3, "join"]),
        (["out"], {"cut": Outcome(data={"whole": True})}, ["cut", "whole"]),
        (["out"], {"detect": Outcome(data={"whole": True})}, ["cut", "detect", "whole"]),
        (["out"], {"draw": Outcome(error=SourceError("gone"))}, ["cut", *["detect"] * 3, "track", "draw"]),
    ],
)
def test_steps_follow_each_other(long, outputs, outcomes, steps):
    task = Task("a.mp4", long / "in.mp4", {name: long / name for name in outputs})
    inner = Scripted(outcomes)
    executor = SegmentedExecutor(inner, long / "work", part_s=2.0)
    [(done, outcome)] = executor.run(iter([task]))
    executor.close()
    assert (done, inner.steps) == (task, steps)
    assert (outcome.error is not None) == any(value.error for value in outcomes.values())
    assert not (long / "work" / "a.mp4").exists()
