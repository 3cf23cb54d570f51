"""Names of the keys that OpenCV reports by numbers, which differ from one window system to another."""

NAMED_KEYS = {
    27: "esc", 32: "space",
    0xFF52: "up", 0xFF54: "down",  # X11
    0x260000: "up", 0x280000: "down",  # Windows
    0xF700: "up", 0xF701: "down",  # macOS
    0xFFAB: "+", 0xFFAD: "-", **{0xFFB0 + n: str(n) for n in range(10)},  # X11's number pad
}  # fmt: skip


def key_name(code: int) -> str | None:
    """The name by which ``controls.BINDINGS`` knows a key; None for no key and for unknown ones.

    ``code``: what ``cv2.waitKeyEx`` returned.
    """
    if code < 0:  # none; or, with Qt, a letter beyond ASCII
        return None
    if code not in NAMED_KEYS:
        code &= 0xFFFF  # GTK puts Shift, Num Lock and the like above
    if code in NAMED_KEYS:
        return NAMED_KEYS[code]
    return chr(code).lower() if 0x20 < code < 0x7F else None
