"""``realtime doctor``."""

from typing import Annotated

import typer

from realtime.commands.arguments import Model
from realtime.commands.running import print_result


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    model: Model = "nano",
) -> None:
    """Say what works on this machine, what does not, and what to do about it. Exit code 1 if the app cannot run."""
    import json

    from realtime.doctor.report import Report, as_lines, examine

    report = Report()
    for title, findings in examine(model):
        report.sections[title] = findings
        if not as_json:
            print_result("\n".join(as_lines(title, findings)))
    print_result(json.dumps(report.to_json(), indent=2) if as_json else f"verdict: {report.verdict}")
    if not report.can_run:
        raise typer.Exit(1)
