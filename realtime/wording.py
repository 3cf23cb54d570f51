"""Errors as the command line prints them: with its options, and the commands that help."""

import shlex

from realtime.errors import RealtimeError, Remedy, Tool, join_alternatives

OPTIONS = {"size_wh": "--size", "frame_rate": "--fps"}
"""Options that are not named as their parameter is."""
COMMANDS: dict[Tool, str] = {
    "cam": "realtime cam --device",
    "docker": "docker run --gpus all",
    "doctor": "realtime doctor",
    "export": "realtime export onnx CHECKPOINT -o",
    "video": "realtime video",
}


def error_line(error: RealtimeError) -> str:
    """One line for a user of the command line."""
    return error.worded(option(error.parameter) if error.parameter else "", remedy_text(error.remedy))


def remedy_text(remedy: Remedy) -> str:
    """What to do next, for a user of the command line."""
    text = remedy.text
    if remedy.tool:
        target = f" {shlex.quote(remedy.target)}" if remedy.target else ""
        text += f" with: {COMMANDS[remedy.tool]}{target}"
    use = f"use {option(remedy.parameter)} {' or '.join(remedy.values)}" if remedy.parameter else ""
    return join_alternatives(text, use)


def option(parameter: str) -> str:
    """The option that a parameter is set by."""
    return OPTIONS.get(parameter, "--" + parameter.replace("_", "-"))
