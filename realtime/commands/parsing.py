"""How the command line is read, where typer has no setting for it."""

import re
from collections import Counter
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from realtime.redaction import redacted


class AppCommand(TyperCommand):
    """A command with options that need no value, which refuses an option that is given twice."""

    implied_values: ClassVar[dict[str, str]] = {"--blur": "face"}
    """What an option without a value stands for; typer dropped click's ``flag_value``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line.

        Raises:
            click.UsageError: it is not understood, or an option that takes one value is given twice.
        """
        args = self._with_implied_values(args)
        if not ctx.resilient_parsing:
            self._refuse_repeated(ctx, args)
        return super().parse_args(ctx, args)

    def _with_implied_values(self, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        options = [
            f"{option}={self.implied_values[option]}"
            if option in self.implied_values and not _is_label_list(following)
            else option
            for option, following in zip(args[:end], [*args[1:], "--"], strict=False)
        ]
        return options + args[end:]

    def _refuse_repeated(self, ctx: Any, args: list[str]) -> None:
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        options: Counter[Any] = Counter(given)
        for param, count in options.items():
            takes_one_value = param.param_type_name == "option" and not (param.multiple or param.is_flag)
            if takes_one_value and count > 1:
                raise typer.BadParameter(f"given {count} times, but it takes one value", ctx=ctx, param=param)


class AppGroup(TyperGroup):
    """Keeps passwords out of the message when it complains of an argument that it did not expect."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except Exception as error:  # click's usage errors have no public name in typer, but a message
            if "message" in vars(error):
                vars(error)["message"] = redacted(vars(error)["message"])
            raise


def _is_label_list(argument: str) -> bool:
    """Whether an argument can be the value of ``--blur``: not an option, a path or a pattern, but it may be empty."""
    return bool(re.fullmatch(r"|[^-./*?\\][^./*?\\]*", argument))
