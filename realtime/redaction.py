"""Takes passwords and tokens out of text that is shown."""

import re

HIDDEN = "***"

# Everything up to the last '@' of the host part; passwords may hold an '@' themselves. One slash, too: paths merge two.
_USER = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*:/{1,2})[^/?#\s'\"]+@", re.IGNORECASE)
# A password with a raw '/', '?' or '#' ends the host part early; what stands before it is then no port number.
_ODD_USER = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*:/{1,2})([^/?#\s:@\[\]]*:(?!\d{1,5}(?:[/?#\s'\"]|$))[^\s@]*[/?#][^\s]*)@",
    re.IGNORECASE,
)
# Recorders put secrets anywhere in an address, in the path as well: rtsp://host/user=admin_password=1234_channel=1.sdp
_SECRET = re.compile(
    r"(?P<key>[\w.%-]*(?:pas|pwd?|secret|token|key|auth|sig|cred|session|sid)[\w.%-]*=)[^&;#\s'\"]+", re.IGNORECASE
)
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*:/{1,2}\S+", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text with the users, passwords and secret parameters of all addresses in it replaced by stars."""
    text = _ODD_USER.sub(rf"\g<scheme>{HIDDEN}@", text)
    text = _USER.sub(rf"\g<scheme>{HIDDEN}@", text)
    return _ADDRESS.sub(lambda address: _SECRET.sub(rf"\g<key>{HIDDEN}", address[0]), text)
