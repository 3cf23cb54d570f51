"""Removes passwords and tokens from text that is shown."""

import re

HIDDEN = "***"

# Up to the last '@' that follows a ':': passwords contain '@', '/' and '#' themselves, escaped or not, and hiding a
# host is better than showing part of a password. One slash is enough: paths merge two.
_USER = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*:/{1,2})(?:\S*:\S*|[^/?#\s]+)@", re.IGNORECASE)
# Video recorders put secrets anywhere in an address, even in the path: rtsp://host/user=admin_password=1234_channel=1.sdp
_SECRET = re.compile(
    r"(?P<key>[\w.%-]*(?:pas|pwd?|secret|token|key|auth|sig|cred|session|sid)[\w.%-]*=)"
    r"(?!\*{3}(?:[&;:#\s'\"]|$))[^&;#\s]+",  # not what is already hidden
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*:/{1,2}\S+", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text with users, passwords and secret parameters of all addresses replaced by stars.

    An address ends at white space.
    """
    text = _USER.sub(rf"\g<scheme>{HIDDEN}@", text)
    return _ADDRESS.sub(lambda address: _SECRET.sub(rf"\g<key>{HIDDEN}", address[0]), text)
