"""Takes passwords and tokens out of text that is shown."""

import re

HIDDEN = "***"

# Up to the last '@' that follows a ':': passwords hold '@', '/' and '#' themselves, escaped or not, and it is better to
# hide a host than to show a part of one. One slash, too: paths merge two.
_USER = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*:/{1,2})(?:\S*:\S*|[^/?#\s]+)@", re.IGNORECASE)
# Recorders put secrets anywhere in an address, in the path as well: rtsp://host/user=admin_password=1234_channel=1.sdp
_SECRET = re.compile(
    r"(?P<key>[\w.%-]*(?:pas|pwd?|secret|token|key|auth|sig|cred|session|sid)[\w.%-]*=)"
    r"(?!\*{3}(?:[&;:#\s'\"]|$))[^&;#\s]+",  # what is hidden already ends there
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*:/{1,2}\S+", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text with the users, passwords and secret parameters of all addresses in it replaced by stars.

    An address ends at white space.
    """
    text = _USER.sub(rf"\g<scheme>{HIDDEN}@", text)
    return _ADDRESS.sub(lambda address: _SECRET.sub(rf"\g<key>{HIDDEN}", address[0]), text)
