"""Command line options generated from the fields of a dataclass, so that each is written once."""

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import typer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

METADATA_KEY = "option"
T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """How one field looks on the command line."""

    help: str | None = None
    flag: str | None = None
    """Name of the option if it is not that of the field; for booleans, the only name."""
    min: float | None = None
    max: float | None = None
    panel: str | None = None
    """Group of the option in the help text."""
    choices: tuple[str, ...] = ()
    is_derived: bool = False
    """The default depends on other options: the command line has None for an option that was not given."""


def option(
    default: Any = MISSING,
    help: str | None = None,  # noqa: A002 (as typer calls it)
    *,
    flag: str | None = None,
    min: float | None = None,  # noqa: A002
    max: float | None = None,  # noqa: A002
    panel: str | None = None,
    choices: tuple[str, ...] = (),
    is_derived: bool = False,
) -> Any:
    """A dataclass field that is a command line option as well; without a default it is required."""
    spec = OptionSpec(help, flag, min, max, panel, choices, is_derived)
    return field(default=default, metadata={METADATA_KEY: spec})


def takes_options(
    options: type[T],
    *,
    only: Iterable[str] | None = None,
    build: Callable[..., T] | None = None,
    **defaults: Any,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the parameter ``options`` of a typer command by an option for each field of a dataclass.

    Args:
        options: the dataclass; its fields are made with ``option``.
        only: names of the fields that the command has; None for all.
        build: makes the object from the values of the options; by default the dataclass itself.
        defaults: values that differ from the dataclass's, by field.
    """
    wanted = set(only) if only is not None else {f.name for f in fields(options)}
    hints = get_type_hints(options)
    chosen = [f for f in fields(options) if f.name in wanted]
    generated = [_parameter(f, hints[f.name], defaults.get(f.name, f.default)) for f in chosen]
    make = build or options

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapper(**values: Any) -> None:
            given = {f.name: _plain(values.pop(f.name)) for f in chosen}
            command(options=make(**given), **values)

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            own = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            parameters += generated if parameter.name == "options" else [own]
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return wrapper

    return decorate


def command_line_defaults(options: "type[DataclassInstance]") -> dict[str, Any]:
    """What the command line has for each field whose option is not given."""
    return {f.name: None if _spec(f).is_derived else f.default for f in fields(options)}


def option_name(options: "type[DataclassInstance]", name: str) -> str:
    """What a field is called on the command line, such as ``--warmup-steps``."""
    spec = next(_spec(f) for f in fields(options) if f.name == name)
    return spec.flag or f"--{name.replace('_', '-')}"


def _spec(of: Field[Any]) -> OptionSpec:
    spec: OptionSpec = of.metadata[METADATA_KEY]
    return spec


def _parameter(of: Field[Any], hint: Any, default: Any) -> inspect.Parameter:
    spec = _spec(of)
    if spec.choices:  # what typer shows as a choice
        members = {choice.upper(): choice for choice in spec.choices}
        choice_type: Any = StrEnum("Choice", members)  # type: ignore[misc]
        hint = choice_type | None if default is None else choice_type
    if spec.is_derived:
        hint, default = hint | None, None
    given = typer.Option(
        ... if default is MISSING else default,
        *([spec.flag] if spec.flag else []),
        help=spec.help,
        min=spec.min,
        max=spec.max,
        rich_help_panel=spec.panel,
    )
    return inspect.Parameter(of.name, inspect.Parameter.KEYWORD_ONLY, default=given, annotation=hint)


def _plain(value: Any) -> Any:
    """The text of a choice: enumerations cannot be read back from a checkpoint."""
    return value.value if isinstance(value, StrEnum) else value
