"""The ways into the program: help, version, ``python -m``, shell completion, options given twice, other packages."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import realtime
from realtime.cli import app

PACKAGE = Path(realtime.__file__).parent
SCRIPT = Path(sys.executable).with_name("realtime")
PLAIN = os.environ | {"COLUMNS": "120", "NO_COLOR": "1"}
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from realtime.cli import run_cli; run_cli()"


def run(*command, cwd=None, **environment):
    return subprocess.run(
        [*map(str, command)], cwd=cwd, env=PLAIN | environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_without_a_command_it_prints_the_help():
    done = run(SCRIPT)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "Usage: realtime [OPTIONS] COMMAND [ARGS]..." in done.stdout + done.stderr


def test_the_version_is_that_of_the_package():
    done = run(SCRIPT, "--version")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"realtime \d+\.\d+\.\d+\S*\n", done.stdout)


def test_a_checkout_that_is_not_installed_has_a_version_too():
    code = (
        "import importlib.metadata as m\n"
        "def version(name): raise m.PackageNotFoundError(name)\n"
        "m.version = version\n"
        "from realtime.cli import run_cli; run_cli()"
    )
    done = run(sys.executable, "-c", code, "--version")
    assert (done.returncode, done.stdout) == (0, "realtime of an unknown version\n")


def test_python_can_run_the_package():
    done = run(sys.executable, "-m", "realtime", "video", "-h")
    assert done.returncode == 0, done.stderr
    assert "Usage: python -m realtime video [OPTIONS]" in done.stdout


@pytest.mark.parametrize("command", ["", "cam", "serve", "video", "image", "bench", "doctor"])
def test_the_short_option_for_help_works_everywhere(command):
    runner = CliRunner()
    short, long = (runner.invoke(app, [*command.split(), option]) for option in ("-h", "--help"))
    assert short.exit_code == long.exit_code == 0
    assert short.output == long.output


IMAGES = ("Output", "Hiding faces", "Drawing")


@pytest.mark.parametrize(
    ("command", "panels"),
    [
        ("cam", ["Source", "Output", "Hiding faces", "Drawing", "Detection", "Window"]),
        (
            "video",
            ["Source", "Output", "Hiding faces", "Drawing", "Video encoding", "Detection", "Window", "Many files"],
        ),
        ("image", ["Output", "Hiding faces", "Drawing", "Detection", "Many files"]),
        ("serve", ["Source", "Server", "Detection"]),
    ],
)
def test_options_stand_in_panels(command, panels):
    text = CliRunner(env={"COLUMNS": "120"}).invoke(app, [command, "--help"]).output
    assert [title for title in re.findall(r"╭─ ([\w ]+?) ─", text) if title not in ("Options", "Arguments")] == panels
    options = text[text.index("╭─ Options") : text.index(f"╭─ {panels[0]}")]
    assert set(re.findall(r"--[a-z-]+", options)) == {"--help"}


@pytest.mark.parametrize(("given", "offered"), [("realtime v", ["video"]), ("realtime cam --bl", ["--blur"])])
def test_the_shell_completes_commands_and_options(given, offered):
    position = str(len(given.split()) - 1)
    done = run(SCRIPT, _REALTIME_COMPLETE="complete_bash", COMP_WORDS=given, COMP_CWORD=position)
    assert [word for word in done.stdout.split() if word in ("video", "--blur")] == offered


def test_completion_is_installed_for_the_users_shell(tmp_path):
    environment = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # the shell is named
    done = run(SCRIPT, "--install-completion", "bash", **environment)
    assert done.returncode == 0, done.stderr
    assert "_REALTIME_COMPLETE=complete_bash" in (tmp_path / ".bash_completions" / "realtime.sh").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("cam --size 640x480 --size=1280x720", "'--size': given 2 times, but it takes one value"),
        ("video a.mp4 --out b.mp4 --out c.mp4", "'--out': given 2 times, but it takes one value"),
        ("video a.mp4 --blur --blur eye", "'--blur': given 2 times, but it takes one value"),
        ("image a.png --model pico --model nano --model mobile", "'--model': given 3 times, but it takes one value"),
    ],
)
def test_an_option_that_takes_one_value_is_not_given_twice(arguments, complaint):
    done = run(SCRIPT, *arguments.split())
    assert done.returncode == 2
    assert complaint in " ".join(done.stderr.replace("│", " ").split())


def test_switches_may_be_overruled():
    done = run(SCRIPT, "cam", "--device", "97", "--window", "--no-window", "--raw", "--raw", "--provider", "cpu")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot open camera 97: not found")


@pytest.mark.parametrize("command", ["train fit data.yaml", "train --help", "export onnx best.pt"])
def test_without_the_training_dependencies_one_line_says_how_to_install_them(command):
    done = run(sys.executable, "-c", WITHOUT_TORCH, *command.split())
    assert done.returncode == 1
    name = command.split()[0]
    # Which of them is missed first differs with what else is installed.
    assert re.fullmatch(
        rf"error: cannot run realtime {name}: (torch|yaml|PIL|matplotlib|pycocotools) is not installed\. "
        r"Install it with: pip install 'facial-feature-rcnn\[train\]'\n",
        done.stderr,
    )


def test_the_help_lists_train_and_export_without_loading_them():
    code = "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); " + WITHOUT_TORCH
    done = run(sys.executable, "-c", code, "--help")
    assert done.returncode == 0, done.stderr
    assert re.search(r"│ train +Train a detector on your own labels", done.stdout)
    assert re.search(r"│ export +Turn a checkpoint into the ONNX file", done.stdout)
    assert not {"train", "export", "onnxruntime", "numpy"} & set(done.stderr.split())


@pytest.mark.parametrize("command", ["train", "export"])
def test_a_file_of_the_users_is_never_run_in_place_of_a_package(tmp_path, command):
    (tmp_path / f"{command}.py").write_text("print('this is mine')")
    done = run(sys.executable, "-m", "realtime", command, "--help", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{command}.py hides the package {command}; use another working folder" in done.stderr


def test_every_package_that_the_app_imports_is_one_of_its_own():
    """In functions as well: what is imported late is not missed by importing the module."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module)
    packages = {name.partition(".")[0] for name in found} - sys.stdlib_module_names
    assert {"numpy", "starlette", "ray"} < packages
    optional = {"supervision"}  # Result.to_supervision is for those who have it
    assert {name for name in packages - optional if importlib.util.find_spec(name) is None} == set()


def test_every_module_of_the_app_can_be_imported_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import importlib, pkgutil, realtime\n"
        "for module in pkgutil.walk_packages(realtime.__path__, 'realtime.'): importlib.import_module(module.name)"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
