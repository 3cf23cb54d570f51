"""``realtime doctor``: what of this machine the app can use, tried rather than asked for."""
