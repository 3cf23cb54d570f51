"""Reads what wandb keeps of offline runs: a log in LevelDB's format, of protobuf messages."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

HEADER, BLOCK = 7, 32768
"""Bytes before the first block and of each record's header (checksum, length, type); bytes of a block."""


def records(path: Path) -> Iterator[Record]:
    """The messages of a ``.wandb`` file."""
    content, at, message = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:  # the rest of a block is padding
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        message += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(message)
            message = b""


def run_of(path: Path) -> dict[str, Any]:
    """Id, name, project, group, config, rows of the history, artifacts and exit code of an offline run."""
    found: dict[str, Any] = {"history": [], "artifacts": [], "config": {}}
    for record in records(path):
        if record.HasField("run"):
            run = record.run
            found |= {"id": run.run_id, "name": run.display_name, "project": run.project, "group": run.run_group}
            found["config"] |= {item.key: json.loads(item.value_json) for item in run.config.update}
        elif record.HasField("history"):
            items = record.history.item
            found["history"].append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
        elif record.HasField("artifact"):
            artifact = record.artifact
            found["artifacts"].append((artifact.type, [entry.path for entry in artifact.manifest.contents]))
        elif record.HasField("exit"):
            found["exit_code"] = record.exit.exit_code
    return found
