"""benchmarks/start.py: starts are watched from outside, imports are added up; what the app puts off is put off."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import start

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "start.py"


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, args)], capture_output=True, text=True, timeout=600, check=False
    )


def test_a_video_and_a_camera_are_started(tmp_path):
    out = tmp_path / "start.json"

    done = run("--rounds", 1, "--only", "video,camera", "--camera-opens", 0.2, "--json", out)

    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert list(report["starts"]) == ["video", "camera"]
    for row in report["starts"].values():
        assert row["wall_s"]["median"] > 0
        assert row["cpu_s"]["median"] > 0
        assert row["peak_mib"]["median"] > 30  # an interpreter with numpy
    assert report["starts"]["camera"]["wall_s"]["median"] > 0.2
    imports = report["imports"]["video"]
    names = [package["name"] for package in imports["packages"]]
    assert {"numpy", "av", "onnxruntime", "realtime"} <= set(names)
    assert len(names) == start.TOP
    assert sum(package["own_ms"]["median"] for package in imports["packages"]) <= imports["total_ms"]["median"]
    slowest = max(row["wall_s"]["median"] for row in report["starts"].values())
    assert report["mark"] == {"first_frame_s": 1.0, "met": slowest <= 1.0}
    assert "imports of video" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--only", "gone"], "found gone"),
        (["--against", "/nowhere"], "realtime/cli.py"),
        (["--rounds", "0"], "equal to 1"),
    ],
)
def test_a_wrong_argument_is_named(arguments, complaint):
    done = run(*arguments)
    assert done.returncode == 2
    assert complaint in " ".join(done.stderr.replace("│", " ").split())


def test_an_app_that_fails_ends_the_benchmark_with_its_own_words(tmp_path):
    case = start.Case(start.APP, ("video", str(tmp_path / "gone.mp4"), "--jsonl", "{result}"))
    with pytest.raises(SystemExit, match=r"^error: video ended with 1: error: .*gone\.mp4"):
        start.start(case, start.ROOT, {})


def test_own_times_are_added_up_by_package():
    lines = [
        "import time: self [us] | cumulative | imported package",
        "import time:       500 |        500 |     numpy.core",
        "running on the CPU",
        "import time:      1000 |       1500 |   numpy",
        "import time:       250 |       1750 | cv2",
    ]
    assert start.by_package(lines) == {"numpy": (2, 1.5), "cv2": (1, 0.25)}


@pytest.mark.parametrize(("name", "put_off"), [("help", ["numpy", "cv2", "av", "onnxruntime"]), ("video", ["rich"])])
def test_what_a_start_does_not_need_is_not_imported(tmp_path, name, put_off):
    case = start.CASES[name]
    arguments = [text.format(result=tmp_path / "result.jsonl") for text in case.arguments]
    program = (
        f"{case.program.removesuffix('run_cli()')}\nimport sys\ntry:\n    run_cli()\nfinally:\n    print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=600, check=True
    )
    assert not set(done.stdout.split()) & set(put_off)
