"""What a batch does around the work: skipping, sharing, recording, and going on after failures."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from batches import CONDITIONS, Copier, batch_of, made_tasks
from fakes import WAIT_S

from realtime.batch.batch import SilentWatcher
from realtime.batch.claims import Claims
from realtime.batch.local import ProcessExecutor, ThreadExecutor
from realtime.batch.records import file_name
from realtime.batch.store import FolderStore
from realtime.batch.tasks import Step
from realtime.errors import ModelError


class Noting(SilentWatcher):
    def __init__(self):
        self.skips, self.ends = [], []

    def skipped(self, task, record):
        self.skips.append((task.name, record.data.get("text")))

    def finished(self, task, outcome):
        self.ends.append(task.name)


@pytest.fixture
def two(tmp_path):
    return made_tasks(tmp_path, {"a.txt": "one", "sub/b.txt": "two"})


def log_of(folder):
    return Copier(folder / "log").done


def test_a_batch_is_done_and_recorded(tmp_path, two):
    summary = batch_of(tmp_path, two).run()
    assert (summary.done, summary.skipped, summary.frames, summary.faces) == (2, 0, 6, 2)
    assert (tmp_path / "out" / "sub" / "b.txt").read_text() == "two"
    records = tmp_path / "out" / ".realtime"
    assert sorted(path.relative_to(records).as_posix() for path in records.rglob("*") if path.is_file()) == [
        "records/a.txt.json",
        "records/sub/b.txt.json",
        "summary.json",
    ]
    report = json.loads((records / "summary.json").read_text())
    assert report["done"] == 2
    assert report["complete"]
    assert report["model"] == "model"


def test_what_is_done_is_skipped(tmp_path, two):
    batch_of(tmp_path, two).run()
    watcher = Noting()
    summary = batch_of(tmp_path, two, resume=True, watcher=watcher).run()
    assert (summary.done, summary.skipped) == (0, 2)
    assert watcher.skips == [("a.txt", "one"), ("sub/b.txt", "two")]
    assert log_of(tmp_path) == ["a.txt", "sub/b.txt"]


def test_without_resume_everything_is_done_again(tmp_path, two):
    for _ in range(2):
        assert batch_of(tmp_path, two).run().done == 2


@pytest.mark.parametrize("change", ["input", "time", "result", "size", "record"])
def test_a_file_is_done_again_if_it_or_its_result_has_changed(tmp_path, two, change):
    batch_of(tmp_path, two).run()
    source, result = two[0].source, two[0].outputs["out"]
    if change == "input":
        source.write_text("other")
    elif change == "time":
        os.utime(source, (1, 1))
    elif change == "result":
        result.unlink()
    elif change == "size":
        result.write_text("")
    else:
        (tmp_path / "out" / ".realtime" / "records" / "a.txt.json").write_text("{")
    summary = batch_of(tmp_path, two, resume=True).run()
    assert (summary.done, summary.skipped) == (1, 1)
    assert log_of(tmp_path)[2:] == ["a.txt"]


@pytest.mark.parametrize("changed", [{"model": "other"}, {"options": {"threshold": 0.6}}, {"version": "1.1"}])
def test_other_conditions_do_everything_again(tmp_path, two, changed):
    batch_of(tmp_path, two).run()
    assert batch_of(tmp_path, two, conditions=replace(CONDITIONS, **changed), resume=True).run().done == 2


def test_a_file_that_changes_while_it_is_processed_is_done_again(tmp_path, two):
    class Slow(Copier):
        def process(self, task):
            outcome = super().process(task)
            os.utime(task.source, (5, 5))
            return outcome

    batch_of(tmp_path, two, ThreadExecutor(Slow(tmp_path / "log"))).run()
    assert batch_of(tmp_path, two, resume=True).run().done == 2


def test_failures_do_not_stop_the_others_and_are_listed(tmp_path):
    tasks = made_tasks(tmp_path, {"a": "unreadable", "b": "bug", "c": "damaged", "d": "fine"})
    summary = batch_of(tmp_path, tasks).run()
    assert (summary.done, len(summary.failed)) == (2, 3)
    lines = (tmp_path / "out" / ".realtime" / "failed.jsonl").read_text().splitlines()
    assert [(entry["name"], entry["error"].split(" ", 1)[0]) for entry in map(json.loads, lines)] == [
        ("a", "cannot"),
        ("b", "cannot"),
        ("c", str(tasks[2].source)),
    ]
    assert "KeyError: 'bug'" in lines[1]

    # What has a result is not done again, but stays in the list; what has none is tried again.
    tasks[0].source.write_text("mended")
    again = batch_of(tmp_path, tasks, resume=True).run()
    assert log_of(tmp_path)[4:] == ["a", "b"]
    assert [task.name for task, _ in again.failed] == ["b", "c"]

    tasks[1].source.write_text("mended")
    tasks[2].source.write_text("mended")
    assert not batch_of(tmp_path, tasks, resume=True).run().failed
    assert not (tmp_path / "out" / ".realtime" / "failed.jsonl").exists()


def test_a_stopped_batch_gives_up_its_claims_and_can_be_resumed(tmp_path):
    tasks = made_tasks(tmp_path, {"a": "1", "b": "interrupt", "c": "3"})
    summary = batch_of(tmp_path, tasks).run()
    assert (summary.exit_code, summary.stopped_at, summary.done) == (130, tasks[1], 1)
    records = tmp_path / "out" / ".realtime"
    assert not list((records / "claims").iterdir())
    assert not json.loads((records / "summary.json").read_text())["complete"]
    tasks[1].source.write_text("2")
    assert batch_of(tmp_path, tasks, resume=True).run().done == 2


def test_a_signal_between_two_files_ends_the_batch(tmp_path, two):
    codes = iter([None, 143, 143])
    summary = batch_of(tmp_path, two, is_stopped=lambda: next(codes)).run()
    assert (summary.exit_code, summary.done) == (143, 0)


def test_a_worker_that_cannot_start_ends_the_batch(tmp_path, two):
    class Broken(Copier):
        def open(self, cores):
            raise ModelError("no such model")

    with pytest.raises(ModelError):
        batch_of(tmp_path, two, ThreadExecutor(Broken(tmp_path / "log"))).run()
    assert not list((tmp_path / "out" / ".realtime" / "claims").iterdir())


@pytest.mark.parametrize("resume", [True, False])
def test_two_runs_share_the_work_without_doing_a_file_twice(tmp_path, resume):
    tasks = made_tasks(tmp_path, {f"{i:02}": "x" for i in range(40)})
    both = threading.Barrier(2)

    class Together(Copier):
        def process(self, task):
            if task.number <= 2:  # both runs have begun
                both.wait(WAIT_S)
            return super().process(task)

    batches = [batch_of(tmp_path, tasks, ThreadExecutor(Together(tmp_path / "log")), resume=resume) for _ in range(2)]
    threads = [threading.Thread(target=batch.run, name="test-batch") for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(log_of(tmp_path)) == [task.name for task in tasks]
    assert sum(batch.summary.done for batch in batches) == 40
    assert all(batch.summary.done + batch.summary.by_others == 40 for batch in batches)


@pytest.mark.parametrize("file", ["session.json", "claims/a.json"])
def test_a_run_reads_the_session_of_another_once_it_is_written(tmp_path, file):
    folder = tmp_path / "out" / ".realtime"
    other = Claims(FolderStore(folder))
    other.join_others()
    other.take("a")
    written = (folder / file).read_bytes()
    for name in ("session.json", "claims/a.json"):  # one of them says it
        (folder / name).unlink()
    (folder / file).write_bytes(b"")
    looked = threading.Event()

    class Store(FolderStore):
        def read(self, name):
            data = super().read(name)
            looked.set()
            return data

    def write():
        looked.wait(WAIT_S)
        (folder / file).write_bytes(written)

    writer = threading.Thread(target=write, name="test-writer")
    writer.start()
    claims = Claims(Store(folder))
    claims.join_others()
    writer.join(WAIT_S)
    claims.close()
    other.close()
    assert claims.session == other.session


def test_a_session_that_is_damaged_holds_up_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr("realtime.batch.claims.WRITING_S", 0.2)
    store = FolderStore(tmp_path / "out" / ".realtime")
    store.write("session.json", b"")
    claims = Claims(store)
    assert claims.join_others() == []
    claims.close()


def claim_of_another(store, name, **changes):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    Claims(store).take(name)
    file = f"claims/{name}.json"
    holder = json.loads(store.read(file)) | {"pid": ended.pid} | changes
    store.write(file, json.dumps(holder).encode())


def test_the_claim_of_a_dead_process_is_taken_over_at_once(tmp_path, two):
    store = FolderStore(tmp_path / "out" / ".realtime")
    claim_of_another(store, "a.txt")
    left = tmp_path / "out" / ".a-abcd1234.partial.txt"
    others = [tmp_path / "out" / name for name in (".a-b-abcd1234.partial.txt", ".ab-abcd1234.partial.txt", "a-.txt")]
    for path in (left, *others):
        path.write_text("half")
    assert batch_of(tmp_path, two).run().done == 2
    assert not left.exists()
    assert all(path.exists() for path in others)


def test_a_process_number_that_was_given_again_is_no_living_process(tmp_path, two):
    store = FolderStore(tmp_path / "out" / ".realtime")
    claim_of_another(store, "a.txt", pid=os.getpid(), started="1")
    assert batch_of(tmp_path, two).run().done == 2


def test_a_claim_of_another_machine_is_taken_over_once_it_is_not_renewed(tmp_path, two):
    store = FolderStore(tmp_path / "out" / ".realtime")
    claim_of_another(store, "a.txt", machine="far", host="far")
    file = tmp_path / "out" / ".realtime" / "claims" / "a.txt.json"
    left = tmp_path / "out" / ".a-abcd1234.partial.txt"
    left.write_text("half")
    waits = []

    class Impatient(SilentWatcher):
        def waiting(self, text):
            waits.append(text)
            os.utime(file, (1, 1))

    claims = Claims(store, beat_s=0.01)
    assert batch_of(tmp_path, two, watcher=Impatient(), claims=claims).run().done == 2
    assert set(waits) == {"waiting for 1 file that another run on far works on"}
    assert not left.exists()


def test_a_claim_that_looks_old_is_watched_before_it_is_taken_over(tmp_path, monkeypatch):
    store, file = FolderStore(tmp_path), tmp_path / "claims" / "a.json"
    claim_of_another(store, "a", machine="far")
    claims, now_s = Claims(store, beat_s=10), 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    os.utime(file, (1, 1))  # the clock has jumped
    assert not claims.take("a")
    now_s += 15
    os.utime(file)  # it is renewed
    assert not claims.take("a")
    os.utime(file, (1, 1))
    now_s += 15
    assert not claims.take("a")
    now_s += 25
    assert claims.take("a")
    claims.close()


def test_a_claim_that_was_taken_over_is_not_given_up(tmp_path):
    store = FolderStore(tmp_path)
    asleep, other = Claims(store), Claims(store)
    assert asleep.take("a")
    store.remove("claims/a.json")
    assert other.take("a")
    asleep.close()
    assert store.read("claims/a.json")
    other.close()
    assert store.read("claims/a.json") is None


def test_results_of_a_clock_that_was_wrong_are_no_newer_ones(tmp_path, two, monkeypatch):
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + 1e6)
    batch_of(tmp_path, two).run()
    monkeypatch.setattr(time, "time", lambda: now_s)
    other = replace(CONDITIONS, options={"threshold": 0.6})
    assert batch_of(tmp_path, two, conditions=other).run().done == 2


def test_runs_share_the_work_whatever_their_clocks_say(tmp_path, monkeypatch):
    tasks = made_tasks(tmp_path, {f"{i}": "x" for i in range(6)})
    now_s, others = time.time(), []

    class Other(SilentWatcher):
        def waiting(self, text):
            others.append(text)

    class First(Copier):
        def process(self, task):
            if task.number == 1:  # another run comes, and does all the rest
                monkeypatch.setattr(time, "time", lambda: now_s - 1e6)
                late = batch_of(tmp_path, tasks, watcher=Other(), is_stopped=lambda: 130 if others else None)
                late.run()
                monkeypatch.setattr(time, "time", lambda: now_s)
            return super().process(task)

    summary = batch_of(tmp_path, tasks, ThreadExecutor(First(tmp_path / "log"))).run()
    assert (summary.done, summary.by_others) == (1, 5)
    assert sorted(log_of(tmp_path)) == [task.name for task in tasks]


def test_what_a_run_with_other_options_has_done_is_done_again(tmp_path, two):
    store = FolderStore(tmp_path / "out" / ".realtime")
    claims, other = Claims(store), Claims(store)
    claims.join_others()
    batch_of(tmp_path, two, claims=other).run()
    assert other.session == claims.session
    assert batch_of(tmp_path, two, claims=claims).run().by_others == 2
    changed = replace(CONDITIONS, options={"threshold": 0.6})
    assert batch_of(tmp_path, two, conditions=changed, claims=claims).run().done == 2


def test_claims_are_renewed(tmp_path):
    store = FolderStore(tmp_path)
    claims = Claims(store, beat_s=0.01)
    assert claims.take("a")
    os.utime(tmp_path / "claims" / "a.json", (1, 1))
    deadline = time.monotonic() + WAIT_S
    while (tmp_path / "claims" / "a.json").stat().st_mtime < 2:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert not Claims(store).take("a")
    claims.close()
    assert store.read("claims/a.json") is None


def test_a_claim_that_says_nothing_yet_is_respected(tmp_path):
    store = FolderStore(tmp_path)
    store.create("claims/a.json", b"")
    assert not Claims(store).take("a")


def test_names_of_records_fit_the_file_system(tmp_path):
    long = "é" * 127 + ".m"
    assert len(os.fsencode(file_name(f"sub/{long}"))) < 255
    assert file_name("sub/a.mp4") == "sub/a.mp4.json"
    assert FolderStore(tmp_path).create(f"claims/{file_name(long)}", b"")


def test_workers_of_their_own_do_each_file_once(tmp_path):
    tasks = made_tasks(tmp_path, {f"{i:02}": "x" for i in range(12)})
    spec = Copier(tmp_path / "log", tmp_path / "opened")
    summary = batch_of(tmp_path, tasks, ProcessExecutor(spec, 2)).run()
    assert summary.done == 12
    assert sorted(spec.done) == [task.name for task in tasks]
    assert len((tmp_path / "opened").read_text().splitlines()) <= 2  # the model is loaded once a worker


def test_a_file_that_kills_its_worker_is_given_up_after_three_attempts(tmp_path):
    tasks = made_tasks(tmp_path, {"a": "fine", "b": "crash", "c": "fine", "d": "bug"})
    spec = Copier(tmp_path / "log")
    summary = batch_of(tmp_path, tasks, ProcessExecutor(spec, 2)).run()
    assert sorted(spec.done) == ["a", "b", "b", "b", "c", "d"]
    failed = {task.name: error for task, error in summary.failed}
    assert set(failed) == {"b", "d"}
    assert "its worker process ended (out of memory, or a crash) in each of 3 attempts" in failed["b"]


def test_a_file_that_hangs_is_given_up(tmp_path):
    tasks = made_tasks(tmp_path, {"a": "hang", "b": "fine", "c": "fine"})
    spec = Copier(tmp_path / "log")
    summary = batch_of(tmp_path, tasks, ProcessExecutor(spec, 1, limit_s=1.0)).run()
    assert spec.done == ["a", "b", "c"]
    assert summary.done == 2
    [(task, error)] = summary.failed
    assert (task.name, error) == ("a", f"cannot process {task.source}: it took longer than 0:00:01")


def test_all_workers_start_with_the_first_step_of_a_long_file(tmp_path):
    [task] = made_tasks(tmp_path, {"a": "fine"})
    spec = Copier(tmp_path / "log", tmp_path / "opened")
    executor = ProcessExecutor(spec, 2)
    [_] = executor.run(iter([replace(task, step=Step("cut", tmp_path))]))
    deadline = time.monotonic() + WAIT_S
    while len((tmp_path / "opened").read_text().splitlines()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    executor.close()


def test_a_process_that_cannot_load_the_model_ends_the_batch(tmp_path, two):
    with pytest.raises(ModelError, match="no such model"):
        batch_of(tmp_path, two, ProcessExecutor(Broken(tmp_path / "log"), 2)).run()


class Broken(Copier):
    def open(self, cores):
        raise ModelError("no such model")


def test_the_host_of_a_claim_is_named(tmp_path):
    store = FolderStore(tmp_path)
    claims = Claims(store)
    claims.take("a")
    assert json.loads(store.read("claims/a.json"))["host"] == socket.gethostname()
    claims.close()
