"""The doctor on this machine as it is, and on machines that are broken for the test."""

import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import onnxruntime as ort
import pytest
from fakes import WAIT_S, stub_model, wait_until, without_driver

from realtime.doctor.findings import Finding, Level
from realtime.doctor.inference import check_provider
from realtime.doctor.isolated import run_isolated
from realtime.doctor.report import LIBRARIES, Report, as_lines, examine
from realtime.doctor.software import check_app
from realtime.inference.providers import Provider

RUN = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()", "doctor"]
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
TIMEOUT_S = 300


def doctor(*arguments, cwd, **environment):
    return subprocess.run(
        [*RUN, *map(str, arguments)], cwd=cwd, env=ENVIRONMENT | environment, capture_output=True, text=True,
        timeout=TIMEOUT_S, check=False,
    )  # fmt: skip


def broken_module(folder: Path, name: str, code: str) -> str:
    """A folder that, in PYTHONPATH, replaces a library by one that does ``code`` when it is imported."""
    (folder / f"{name}.py").write_text(code)
    return os.pathsep.join([str(folder), *filter(None, sys.path)])


def provider_of(report: dict, name: str) -> dict:
    return next(f for f in report["sections"]["providers"] if f["data"].get("provider") == name)


def test_this_machine_runs_the_app(tmp_path):
    done = doctor("--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["can_run"] is True
    cpu = provider_of(report, "cpu")
    assert cpu["data"]["runs"] is True
    assert cpu["data"]["median_ms"] > 0
    assert cpu["data"]["nodes"]["CPUExecutionProvider"] > 100
    versions = {key: value for finding in report["sections"]["software"] for key, value in finding["data"].items()}
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert versions["onnxruntime"].startswith(ort.__version__)
    assert set(LIBRARIES) | {"realtime", "python", "system"} <= set(versions)
    works = {f["data"]["encoder"]: f["data"]["works"] for f in report["sections"]["pictures"] if "encoder" in f["data"]}
    assert works == {"libx264": True, "aac": True}
    assert {f["level"] for found in report["sections"].values() for f in found} <= {"ok", "note", "warning"}
    assert all(f["remedy"] for found in report["sections"].values() for f in found if f["level"] == "warning")


def test_the_text_ends_with_the_verdict_and_a_damaged_model_is_a_failure(tmp_path):
    model = stub_model(tmp_path / "m.onnx")
    model.write_bytes(model.read_bytes()[:-200])
    done = doctor("--model", "m.onnx", cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any(re.match(r"  warning +cpu: m\.onnx: not a readable ONNX model", line) for line in lines), done.stdout
    assert any(re.match(r"  failure +model m\.onnx runs on no provider", line) for line in lines)
    assert lines[-1] == "verdict: the app cannot run here; what is marked as failure says why"
    assert "Traceback" not in done.stderr
    assert "no window can be shown: there is no display" in done.stdout


def test_a_library_that_crashes_takes_nothing_but_its_own_checks_down(tmp_path):
    path = broken_module(tmp_path, "av", "import os; os.abort()")
    done = doctor("--json", cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    broken = [f["text"] for f in report["sections"]["software"] if f["level"] == "failure"]
    assert broken == ["library: the check crashed (SIGABRT)"]
    assert provider_of(report, "cpu")["data"]["runs"] is True


def isolated(name, *arguments, timeout_s=TIMEOUT_S):
    (finding,) = run_isolated(name, *arguments, timeout_s=timeout_s, if_broken=Level.FAILURE)
    return finding


@pytest.mark.parametrize(
    ("code", "text", "remedy"),
    [
        ("raise ImportError('libGL.so.1: cannot open shared object file')", "libGL.so.1", "apt install libgl1"),
        ("raise AttributeError('_ARRAY_API')", "AttributeError: _ARRAY_API", "install the app again"),
        ("import sys; sys.exit(3)", "the check ended with exit code 3", "a library is broken"),
        ("import os; os.kill(os.getpid(), 11)", r"the check crashed \(SIGSEGV\)", "a library is broken"),
    ],
)
def test_a_library_that_cannot_be_imported_is_a_failure(tmp_path, monkeypatch, code, text, remedy):
    (tmp_path / "cv2.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    finding = isolated("library", "cv2")
    assert finding.level is Level.FAILURE
    assert re.search(text, finding.text), finding
    assert remedy in finding.remedy


def test_a_library_that_hangs_is_given_up(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("import threading; threading.Event().wait()")
    monkeypatch.syspath_prepend(tmp_path)
    assert isolated("library", "numpy", timeout_s=2).text == "library: no answer within 2 s"


def test_what_a_library_prints_does_not_harm_the_answer(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("import os; os.write(1, b'hello'); print('[1]', flush=True); __version__ = '9'")
    monkeypatch.syspath_prepend(tmp_path)
    assert isolated("library", "numpy") == Finding(Level.OK, "NumPy 9", data={"numpy": "9"})


def test_a_folder_with_modules_of_known_names_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemError")
    monkeypatch.chdir(tmp_path)
    assert isolated("library", "numpy").level is Level.OK


def test_packages_that_overwrite_each_other_are_named(tmp_path, monkeypatch):
    for name in ("onnxruntime", "onnxruntime_gpu", "opencv-python", "opencv-python-headless"):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    runtime, opencv = check_app()[1:]
    assert runtime.level is opencv.level is Level.WARNING
    assert runtime.text.startswith("onnxruntime and onnxruntime-gpu are both installed")
    assert "pip uninstall -y opencv-python opencv-python-headless" in opencv.remedy


def test_one_package_of_a_kind_is_no_conflict():
    assert [finding.level for finding in check_app()] == [Level.OK]


def report_of(working: dict[str, float]) -> Report:
    """The report of a machine on which these providers work, with their milliseconds."""

    def run(name, *arguments, **_):
        if name == "provider" and arguments[0] in working:
            data = {"provider": arguments[0], "runs": True, "median_ms": working[arguments[0]]}
            return [Finding(Level.OK, "runs", data=data)]
        return [Finding(Level.NOTE, name)]

    return Report(dict(examine("nano", run)))


def test_the_verdict_names_the_fastest_provider():
    report = report_of({"cpu": 20.0, "cuda": 2.0})
    assert report.can_run
    assert report.verdict == "the app runs here; fastest on cuda, 2.0 ms per image"


def test_no_working_provider_is_a_failure():
    report = report_of({})
    assert not report.can_run
    assert report.sections["providers"][-1].text == "model nano runs on no provider"


def test_a_broken_library_is_a_failure_even_if_the_network_runs():
    report = report_of({"cpu": 20.0})
    report.sections["software"].append(Finding(Level.FAILURE, "OpenCV cannot be imported"))
    assert not report.can_run


def test_each_remedy_stands_below_its_finding():
    assert list(as_lines("cameras", [Finding(Level.NOTE, "none", "plug one in")])) == [
        "cameras",
        "  note     none",
        "           -> plug one in",
    ]


@pytest.mark.skipif(not without_driver(), reason="this machine has an NVIDIA driver")
@pytest.mark.parametrize("provider", [Provider.CUDA, Provider.TENSORRT])
def test_why_onnxruntime_cannot_load_a_provider_is_reported(monkeypatch, provider):
    """With the checks before it switched off, the provider's own library is what fails."""
    for module in ("realtime.doctor.inference", "realtime.inference.session"):
        monkeypatch.setattr(f"{module}.unavailable_reason", lambda _provider: None)
    (finding,) = check_provider(provider.value, "nano")
    assert finding.level is Level.WARNING
    assert re.fullmatch(rf"{provider.value}: \S+\.so\S*: cannot open shared object file.*", finding.text)
    assert finding.remedy


@pytest.mark.skipif(not shutil.which("xvfb-run"), reason="needs xvfb-run")
def test_a_window_is_really_shown(monkeypatch):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    code = (
        "from realtime.doctor.isolated import run_isolated; from realtime.doctor.findings import Level\n"
        "(finding,) = run_isolated('window', timeout_s=200, if_broken=Level.WARNING)\n"
        "print(finding.level, finding.text)"
    )
    command = ["xvfb-run", "-a", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert re.fullmatch(r"ok windows can be shown: OpenCV with QT\d?, display :\d+\n", done.stdout), done


def test_a_display_that_does_not_answer_is_a_note(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":987")
    finding = isolated("window")
    assert (finding.level, finding.text) == (
        Level.NOTE,
        "no window can be shown: no X server answers at DISPLAY=:987",
    )
    assert "--no-window" in finding.remedy


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_doctor_and_the_check_that_runs(tmp_path, number):
    (tmp_path / "numpy.py").write_text(
        "import os, pathlib, threading\n"
        "pathlib.Path('pid').write_text(str(os.getpid()))\n"
        "os.replace('pid', 'child')\n"
        "threading.Event().wait()\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    process = subprocess.Popen(RUN, cwd=tmp_path, env=ENVIRONMENT | {"PYTHONPATH": path}, stderr=subprocess.PIPE)
    wait_until((tmp_path / "child").exists)
    process.send_signal(number)
    _, errors = process.communicate(timeout=WAIT_S)
    assert (process.returncode, errors) == (128 + number, b"stopped\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "child").read_text()), 0)


needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("cc"), reason="builds a driver: needs Linux and a C compiler"
)


def fake_library(folder: Path, name: str, code: str) -> None:
    (folder / "library.c").write_text(code)
    subprocess.run(["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", name, "library.c"], cwd=folder, check=True)


@pytest.fixture
def libraries(tmp_path, monkeypatch) -> Path:
    """A folder in which the loader looks first."""
    monkeypatch.setenv("LD_LIBRARY_PATH", os.pathsep.join([str(tmp_path), os.environ.get("LD_LIBRARY_PATH", "")]))
    return tmp_path


@needs_compiler
def test_a_driver_that_crashes_does_not_take_the_doctor_down(libraries):
    code = "#include <stdlib.h>\nint cuDriverGetVersion(int *v) { abort(); }\nint cuInit(int f) { abort(); }"
    fake_library(libraries, "libcuda.so.1", code)
    assert isolated("provider", "cuda", "nano").text == "provider: the check crashed (SIGABRT)"
    assert isolated("provider", "cpu", "nano").data["runs"] is True


@needs_compiler
def test_a_driver_that_is_too_old_is_reported_with_both_versions(libraries):
    code = "int cuDriverGetVersion(int *v) { *v = 12040; return 0; }\nint cuInit(int f) { return 0; }"
    fake_library(libraries, "libcuda.so.1", code)
    finding = isolated("provider", "cuda", "nano")
    assert finding.level is Level.WARNING
    assert "the NVIDIA driver is too old: it supports CUDA 12.4" in finding.text
    assert "install driver 580 or newer" in finding.remedy


WORKING_DRIVER = r"""
#include <string.h>
int cuInit(int flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 13010; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strcpy(name, "\x1b[31mRTX"); return 0; }
int cuDeviceTotalMem_v2(unsigned long *size, int device) { *size = 8UL << 30; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 8 : 9; return 0; }
"""


def cuda_in(libraries: Path) -> None:
    """A driver that answers, and CUDA's libraries by name alone."""
    fake_library(libraries, "libcuda.so.1", WORKING_DRIVER)
    for name in ("libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcudnn.so.9"):
        fake_library(libraries, name, "int nothing;")


@needs_compiler
def test_tensorrt_that_is_missing_is_reported_with_what_to_install(libraries):
    cuda_in(libraries)
    finding = isolated("provider", "tensorrt", "nano")
    assert finding.level is Level.WARNING
    assert finding.text == "tensorrt: TensorRT 10 is missing: libnvinfer.so.10 cannot be loaded"
    assert "pip install 'tensorrt-cu13==10.*'" in finding.remedy


@needs_compiler
def test_libraries_that_are_there_but_broken_are_reported_in_the_loaders_words(libraries):
    """What a half-finished update leaves."""
    cuda_in(libraries)
    (gpu,) = run_isolated("gpus", timeout_s=TIMEOUT_S, if_broken=Level.FAILURE)
    shown = list(as_lines("providers", [gpu]))[1]
    assert "RTX, 8 GiB, compute capability 8.9; its driver supports CUDA 13.1" in shown
    assert shown.isprintable()
    finding = isolated("provider", "cuda", "nano")
    assert finding.level is Level.WARNING
    assert re.search(r"cuda: \S+\.so\S*: .*(undefined symbol|version)", finding.text), finding
    assert "install its libraries again" in finding.remedy
