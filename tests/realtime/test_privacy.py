"""Nothing leaves the machine, and nothing is left in the user's folders: onnxruntime's telemetry is off."""

import importlib.util
import os
import subprocess
import sys

import pytest

DOORS = {
    "the command": "from realtime.cli import run_cli; run_cli()",
    "the API": "import realtime; realtime.Detector('pico', provider='cpu')(sys.argv[-1])",
    "the doctor": "import realtime.doctor.inference",
    "the benchmark": "import realtime.bench",
}
if importlib.util.find_spec("torch"):
    DOORS |= {"export": "import export.verify", "training": "import train.models.onnx_weights, onnxruntime"}


@pytest.mark.parametrize("door", DOORS)
def test_a_fresh_home_stays_empty(tmp_path, photos, door):
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {DOORS[door]}", "image", "--model", "pico", photos / "chelsea.jpg"],
        env=environment | {"HOME": str(home), "USERPROFILE": str(home)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [str(path.relative_to(home)) for path in home.rglob("*") if "matplotlib" not in str(path)] == []
