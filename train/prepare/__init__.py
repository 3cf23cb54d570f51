"""Turning published and home-made markups into data sets in YOLO format."""
