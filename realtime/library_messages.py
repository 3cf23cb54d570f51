"""Messages that C libraries print to standard error by themselves."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STANDARD_ERROR = 2
LIBJPEG = (b"Premature end of JPEG file", b"Corrupt JPEG data")
"""How its lines about a damaged file begin, which do not name the file."""
_LOCK = threading.Lock()


@contextmanager
def without_libjpeg() -> Iterator[None]:
    """Keep libjpeg's messages from standard error; what others print meanwhile appears a moment later."""
    with _LOCK, tempfile.TemporaryFile() as caught:
        try:
            original = os.dup(STANDARD_ERROR)
        except OSError:  # it is closed
            yield
            return
        try:
            os.dup2(caught.fileno(), STANDARD_ERROR)
            yield
        finally:
            os.dup2(original, STANDARD_ERROR)
            os.close(original)
            caught.seek(0)
            os.write(STANDARD_ERROR, b"".join(line for line in caught if not line.startswith(LIBJPEG)))
