"""Pixels: boxes and labels drawn on an image, text in many alphabets, and faces hidden in place of drawing them."""
