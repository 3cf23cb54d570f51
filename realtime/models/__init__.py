"""The detectors that come with the app."""
