"""The app: frames in, boxes out."""
