"""``realtime train`` and ``realtime export`` as a user types them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_data import make_data_set

from realtime.cli import run_cli
from realtime.stopping import stop_signals

ROOT = Path(__file__).parents[1]
SCRIPT = Path(sys.executable).with_name("realtime")


def run(*arguments, cwd=None):
    return subprocess.run(
        [SCRIPT, *map(str, arguments)],
        cwd=cwd, env=os.environ | {"COLUMNS": "120"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a command in this process, which has torch already; returns exit code, standard output and error."""
    handlers = {number: signal.getsignal(number) for number in stop_signals()}

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["realtime", *arguments])
        monkeypatch.setenv("COLUMNS", "120")
        with pytest.raises(SystemExit) as ended:
            run_cli()
        return ended.value.code, *capsys.readouterr()

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("command", ["train fit", "train prepare pts", "export onnx"])
def test_usage_lines_name_the_command(call, command, option):
    code, output, errors = call(*command.split(), option)
    assert code == 0, errors
    assert f"Usage: realtime {command} [OPTIONS]" in output


@pytest.mark.parametrize("command", ["train", "export"])
def test_without_a_sub_command_it_prints_the_help(command):
    done = run(command)
    assert done.returncode == 2
    assert f"Usage: realtime {command} [OPTIONS] COMMAND [ARGS]..." in done.stdout + done.stderr


def test_wrong_usage_names_the_command(call):
    code, _, errors = call("train", "fit", "--no-such-option")
    assert code == 2
    assert "Usage: realtime train fit [OPTIONS]" in errors


def test_a_data_set_is_checked_in_a_folder_with_a_train_py(tmp_path):
    make_data_set(tmp_path)
    (tmp_path / "train.py").write_text("raise SystemExit('this is mine')")
    done = run("train", "check", "data.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout


@pytest.mark.parametrize(
    ("command", "complaint"),
    [("train evaluate nix.pt nix.yaml", "nix"), ("export onnx nix.pt", "nix.pt"), ("export onnx", "Missing argument")],
)
def test_errors_and_exit_codes_are_those_of_the_packages(call, command, complaint):
    code, _, errors = call(*command.split())
    assert code == (2 if complaint == "Missing argument" else 1)
    assert complaint in errors
    assert "Traceback" not in errors


def test_debug_shows_the_traceback(tmp_path):
    done = run("train", "--debug", "evaluate", "nix.pt", "nix.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("hang_up")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_training_after_a_step_and_saves_it(tmp_path, number):
    data = make_data_set(tmp_path, train=120, val=2)
    options = [
        "--arch",
        "nano",
        "--weights",
        "none",
        "--size",
        "64",
        "--batch-size",
        "2",
        "--epochs",
        "2",
        "--device",
        "cpu",
    ]
    with subprocess.Popen(
        [SCRIPT, "train", "fit", data, "--out", tmp_path / "run", *options],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        for line in process.stdout:
            if line.startswith("epoch 1/2 step "):
                break
        os.killpg(process.pid, number)  # the processes that read images get it too, as from a terminal
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    assert errors.startswith("stopping after this step; again to end at once\nstopped in epoch 1 after step ")
    assert "Traceback" not in errors
    assert (tmp_path / "run" / "last.pt").is_file()


@pytest.mark.parametrize("missing", ["torch", "PIL"])
@pytest.mark.parametrize("door", ["-m train", "-m export", "-m realtime train", "-m realtime export"])
def test_every_door_without_the_training_extra_names_what_is_missing(tmp_path, missing, door):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == '{missing}':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    paths = [str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")]

    done = subprocess.run(
        [sys.executable, *door.split(), "onnx" if "export" in door else "check", "nothing"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    program = f"python {door}" if "realtime" not in door else door.removeprefix("-m ")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: cannot run {program}: {missing} is not installed. "
        "Install it with: pip install 'facial-feature-rcnn[train]'\n"
    )
