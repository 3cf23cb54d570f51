"""What docs/serving.md and the Dockerfile say."""

import json
import re
import shlex
from pathlib import Path

from commands import help_of
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


def test_the_unit_starts_a_command_that_exists():
    command = shlex.split(re.search(r"^ExecStart=\S+ (.+)$", PAGE, re.MULTILINE)[1])
    assert command[0] == "serve"
    assert set(command[1::2]) == {"--device"}
