"""A last chance when a library ends the process."""

import ctypes
import platform
from collections.abc import Callable

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class ExitGuard:
    """Calls a function if C code calls ``exit`` while this is armed.

    Qt does so when the X server goes away, in the middle of an OpenCV call: no exception is raised, and no ``finally``
    runs. Python is still alive then, so what is open can be closed in order. The function should end with
    ``os._exit``, since what called ``exit`` cannot be returned to.

    The C library's list of exit handlers is used (``__cxa_atexit`` of the Itanium C++ ABI, section 3.3.5). They must
    not be called once Python has ended, so ``disarm`` takes this one off the list again, which only glibc can do; with
    other C libraries this does nothing.
    """

    def __init__(self, on_exit: Callable[[], None]) -> None:
        self._on_exit = on_exit
        self._is_armed = False
        self._handle = ctypes.c_char(0)  # its address names this guard in the list
        self._callback = _CALLBACK(self._call)
        self._libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None

    def arm(self) -> None:
        """Begin to guard; call it after all libraries are loaded, since later handlers run first."""
        if self._libc is not None and not self._is_armed:
            self._is_armed = True
            self._libc["__cxa_atexit"](self._callback, None, ctypes.byref(self._handle))

    def disarm(self) -> None:
        """End it, at the latest before Python ends."""
        if self._libc is not None and self._is_armed:
            self._is_armed = False
            self._libc["__cxa_finalize"](ctypes.byref(self._handle))  # runs the handler, which finds nothing to do

    def _call(self, _: int | None) -> None:
        if self._is_armed:
            self._is_armed = False
            self._on_exit()
