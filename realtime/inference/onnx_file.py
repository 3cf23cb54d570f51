"""The metadata of an ONNX file, read without opening a session.

An ONNX file is a protocol buffer ``ModelProto`` (onnx/onnx.proto), whose graph, nearly all of the file, is skipped.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

METADATA_PROPS = 14
"""Number of the field ``ModelProto.metadata_props``, whose entries have a key (1) and a value (2)."""
KEY, VALUE = 1, 2
VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
"""The wire types of protocol buffers."""
MAX_VARINT_BYTES = 10


def read_metadata_props(model: Path) -> dict[str, str]:
    """The ``metadata_props`` of a model.

    Raises:
        ValueError: the file is no protocol buffer.
        OSError: it cannot be read.
    """
    props = {}
    with model.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for field, start, end in _length_delimited_fields(file, 0, size):
            if field == METADATA_PROPS:
                entry = {number: _text(file, *span) for number, *span in _length_delimited_fields(file, start, end)}
                props[entry.get(KEY, "")] = entry.get(VALUE, "")
    return props


def _length_delimited_fields(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field between two positions that is text, bytes or a message."""
    at = start
    while at < end:
        file.seek(at)
        tag = _varint(file)
        wire_type = tag & 7
        length = _varint(file) if wire_type in (VARINT, LENGTH_DELIMITED) else 0
        content = file.tell()
        at = content + {VARINT: 0, FIXED64: 8, LENGTH_DELIMITED: length, FIXED32: 4}.get(wire_type, end)
        if at > end:
            raise ValueError("not a protocol buffer")
        if wire_type == LENGTH_DELIMITED:
            yield tag >> 3, content, at


def _varint(file: BinaryIO) -> int:
    value = 0
    for i in range(MAX_VARINT_BYTES):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << (7 * i)
        if byte[0] < 0x80:
            return value
    raise ValueError("not a protocol buffer")


def _text(file: BinaryIO, start: int, end: int) -> str:
    file.seek(start)
    return file.read(end - start).decode()
