"""Cameras in the browser, and detection over HTTP: an event loop around the threads of ``realtime.cameras``."""
