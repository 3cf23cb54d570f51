"""``realtime doctor``: what works on this machine, found by trying it."""
