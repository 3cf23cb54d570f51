"""What a distribution holds: each data file of the packages, the licences, a description that stands on its own."""

import re
import tomllib
from pathlib import Path

import pytest
from commands import help_of

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ("realtime", "train", "export")


@pytest.mark.parametrize("name", PACKAGES)
def test_every_data_file_of_a_package_is_shipped(name):
    patterns = PROJECT["tool"]["setuptools"]["package-data"].items()
    shipped = {
        path
        for package, globs in patterns
        for pattern in globs
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    files = {path for path in (ROOT / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    data = {path for path in files if path.suffix != ".py"}
    assert ROOT / name / "py.typed" in data
    assert not data - shipped


@pytest.mark.parametrize("name", PACKAGES)
def test_every_folder_with_code_is_a_package(name):
    """The wheel holds packages only."""
    folders = {path.parent for path in (ROOT / name).rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_the_licence_of_the_weights_is_shipped_beside_that_of_the_code():
    project = PROJECT["project"]
    assert project["license"] == "Apache-2.0 AND LicenseRef-research-only-weights"
    assert project["license-files"] == ["LICENSE", "LICENSE-WEIGHTS.md"]
    terms = (ROOT / "LICENSE-WEIGHTS.md").read_text(encoding="utf-8")
    assert "LicenseRef-research-only-weights" in terms
    assert "research and other non-commercial purposes only" in terms


def test_the_description_links_to_nothing_in_the_repository():
    """It is shown where there is no repository around it."""
    text = (ROOT / PROJECT["project"]["readme"]).read_text(encoding="utf-8")
    assert [link for link in re.findall(r"\]\(([^)]*)\)", text) if not link.startswith("https://")] == []


def test_the_version_has_a_section_in_the_changelog():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1] == PROJECT["project"]["version"]


def test_every_command_that_the_description_names_exists():
    text = (ROOT / PROJECT["project"]["readme"]).read_text(encoding="utf-8")
    names = set(re.findall(r"^realtime (\w+)", text, re.MULTILINE)) | set(re.findall(r"`realtime (\w+)`", text))
    assert {"cam", "video", "image", "doctor"} <= names
    for name in names:
        assert "No such command" not in help_of(f"realtime {name}")
