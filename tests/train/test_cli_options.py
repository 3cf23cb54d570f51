"""A field of a dataclass is all that a new option needs."""

from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from train.cli_options import option, option_name, takes_options


@dataclass(frozen=True)
class Options:
    out: Path = option(help="Where to write.")
    count: int = option(3, "How many.", min=1, max=9, panel="Numbers")
    colour: str = option("red", choices=("red", "blue"))
    finish: str | None = option(None, choices=("matt", "glossy"))
    angle_deg: float = option(1.5, flag="--angle")
    fast: bool = option(default=False, help="Hurry.", flag="--fast")
    size: int = option(8, "By default that of the colour.", is_derived=True)


def with_size(**given: object) -> Options:
    return Options(**given | {"size": given["size"] or {"red": 10, "blue": 20}[given["colour"]]})


@pytest.fixture
def run():
    """Call a command and return its result and the options that it got."""
    found: list[Options] = []

    @takes_options(Options, build=with_size, count=5)
    def command(name: str, options: Options, verbose: bool = False) -> None:
        """Paint."""
        found.append(options)
        typer.echo(f"{name} {verbose}")

    app = typer.Typer()
    app.command()(command)

    def call(*args: str):
        return CliRunner().invoke(app, list(args), env={"COLUMNS": "200"}), found

    return call


def test_fields_become_options_with_their_defaults(run):
    result, found = run("wall", "--out", "a/b", "--verbose")

    assert result.output == "wall True\n"
    assert found == [Options(Path("a/b"), 5, "red", None, 1.5, False, 10)]


def test_given_options_reach_the_object_as_plain_values(run):
    _, [found] = run("wall", "--out", "a", "--colour", "blue", "--finish", "matt", "--angle", "3", "--fast",
                     "--count", "9")  # fmt: skip

    assert found == Options(Path("a"), 9, "blue", "matt", 3.0, True, 20)
    assert {type(value) for value in asdict(found).values()} == {type(Path()), int, str, float, bool}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "Missing option '--out'"),
        (("--out", "a", "--count", "0"), "Invalid value for '--count'"),
        (("--out", "a", "--colour", "green"), "'green' is not one of 'red', 'blue'"),
        (("--out", "a", "--no-fast"), "No such option: --no-fast"),
    ],
)
def test_wrong_values_are_refused(run, args, message):
    result, found = run("wall", *args)

    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())
    assert found == []


def test_help_has_texts_choices_and_panels(run):
    text = " ".join(run("--help")[0].output.replace("│", " ").split())

    assert "Paint." in text
    assert "Where to write. [required]" in text
    assert "─ Numbers ─" in text
    assert "How many. [default: 5]" in text
    assert "red|blue" in text
    assert "By default that of the colour. --verbose" in text  # no default of its own is shown


def test_only_some_fields():
    found = []

    @takes_options(Options, only=("count",), build=lambda **given: found.append(given))
    def command(options: Options) -> None:
        pass

    app = typer.Typer()
    app.command()(command)

    assert CliRunner().invoke(app, ["--count", "4"]).exit_code == 0
    assert CliRunner().invoke(app, ["--colour", "red"]).exit_code == 2
    assert found == [{"count": 4}]


def test_option_names():
    assert [option_name(Options, name) for name in ("count", "angle_deg")] == ["--count", "--angle"]
