"""The live window: its view, overlay and snapshots. OpenCV's highgui is used here alone."""
