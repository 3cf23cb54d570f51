"""What docs/serving.md and the Dockerfile say."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest
from commands import help_of
from fakes import WAIT_S
from senders import free_port
from typer.testing import CliRunner

from realtime.cli import app
from realtime.serve.limits import Limits
from realtime.serve.openapi import description

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
OTHER_PROGRAMS = {"--data-binary", "--rm", "--device", "--build-arg", "--gpus", "--network"}


def test_every_option_that_the_page_names_exists():
    known = help_of("realtime serve")
    named = set(re.findall(r"--[a-z][a-z-]+", PAGE)) - OTHER_PROGRAMS
    assert {"--host", "--token", "--allow-host"} <= named
    assert not {option for option in named if option not in known}


def test_every_option_of_the_command_is_on_the_page():
    options = set(re.findall(r"(--[a-z][a-z-]+)", help_of("realtime serve"))) - {"--help", "--no-raw"}
    assert not {option for option in options if f"`{option}" not in PAGE and f"{option}`" not in PAGE}


def test_every_request_that_the_page_names_is_described():
    paths = {path.replace("{name}", "NAME") for path in description(Limits())["paths"]}
    named = set(re.findall(r"(?:GET|POST) (/[\w/.]+)", PAGE)) | {"/cameras/NAME", "/guests"}
    assert named == paths


def test_the_limits_on_the_page_are_the_limits():
    limits = Limits()
    size = f"{limits.upload_bytes // 2**20} MiB, {limits.upload_pixels // 10**6} million pixels"
    assert f"{size} and {limits.upload_s:g} s an image, {limits.uploads} of them at once" in PAGE
    assert f"{limits.requests_per_s:g} requests a second" in PAGE
    text = " ".join(PAGE.split())
    assert f"{limits.viewers} videos, {limits.guests} cameras of browsers, {limits.connections} connections" in text


def test_the_description_is_valid_json_whose_references_exist():
    text = json.dumps(description(Limits()))
    schemas = json.loads(text)["components"]["schemas"]
    names = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert names
    assert names <= set(schemas)


def test_what_the_dockerfile_copies_is_there():
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
    assert "license-files" in (ROOT / "pyproject.toml").read_text()
    extras = re.search(r"^ARG EXTRAS=(\w+)$", DOCKERFILE, re.MULTILINE)[1]
    assert f"\n{extras} = [" in (ROOT / "pyproject.toml").read_text()


def test_the_command_of_the_dockerfile_is_understood():
    entry = json.loads(re.search(r"^ENTRYPOINT (\[.+\])$", DOCKERFILE, re.MULTILINE)[1])
    assert entry[:2] == ["realtime", "serve"]
    done = CliRunner().invoke(app, [*entry[1:], "--device", "nonsense"], env={"REALTIME_TOKEN": "0123456789abcdef"})
    assert "nonsense" in str(done.exception)  # it got as far as the device


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """What the steps of the Dockerfile make, without an engine: a folder with an environment ``venv`` in ``app``.

    Its packages are those of this environment, so that nothing is downloaded; that of the system and its user are left
    out.
    """
    folder = tmp_path_factory.mktemp("image")
    app = folder / "app"
    app.mkdir()
    venv.create(app / "venv", with_pip=False)
    bin_folder = app / "venv" / "bin"
    site = next((app / "venv").glob("lib/python*/site-packages"))
    (site / "parent.pth").write_text(sysconfig.get_path("purelib"))
    steps = re.sub(r"\\\n\s*", "", DOCKERFILE)
    extras = re.search(r"^ARG EXTRAS=(\w+)$", steps, re.MULTILINE)[1]
    done = []
    for kind, rest in re.findall(r"^(COPY|RUN) (.+)$", steps, re.MULTILINE):
        if kind == "COPY":
            *sources, target = rest.split()
            for source in sources:
                copy_step(ROOT / source, app / target / source if target == "./" else app / target)
        elif rest.startswith("pip "):
            command = rest.replace("${EXTRAS}", extras).replace("pip ", f"{bin_folder / 'python'} -m pip ", 1)
            environment = {**os.environ, "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}
            environment.pop("PYTHONPATH", None)
            subprocess.run(command, shell=True, cwd=app, env=environment, check=True)
        done.append((kind, rest.split()[0]))
    assert [program for kind, program in done if kind == "RUN"] == ["apt-get", "pip", "useradd"]
    return app


def copy_step(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


@pytest.mark.slow
def test_the_steps_of_the_dockerfile_make_a_server_that_is_healthy(image, tmp_path):
    bin_folder = image / "venv" / "bin"
    entry = json.loads(re.search(r"^ENTRYPOINT (\[.+\])$", DOCKERFILE, re.MULTILINE)[1])
    check = json.loads(re.search(r"^    CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)[1])
    environment = {"PATH": f"{bin_folder}:/usr/bin:/bin", "REALTIME_TOKEN": "0123456789abcdef", "HOME": str(tmp_path)}
    code = "import realtime; print(realtime.__file__)"
    where = subprocess.check_output([bin_folder / "python", "-c", code], env=environment, cwd=tmp_path, text=True)
    assert Path(where.strip()).is_relative_to(image / "venv")
    port = str(free_port())
    host_at = entry.index("--host") + 1
    assert entry[host_at] == "0.0.0.0"  # that of a container, which a test had better not open
    entry[host_at] = "127.0.0.1"
    command = [bin_folder / entry[0], *entry[1:], "--port", port]
    server = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        while "serving at " not in (line := server.stderr.readline()):
            assert line, "it ended"
        check = [part.replace(":8000", f":{port}") for part in check]
        subprocess.run([bin_folder / check[0], *check[1:]], env=environment, cwd=tmp_path, check=True, timeout=WAIT_S)
    finally:
        server.terminate()
        server.communicate(timeout=WAIT_S)


def test_the_unit_starts_a_command_that_exists():
    command = shlex.split(re.search(r"^ExecStart=\S+ (.+)$", PAGE, re.MULTILINE)[1])
    assert command[0] == "serve"
    assert set(command[1::2]) == {"--device"}
