"""The size of the largest image that is decoded.

A file of kilobytes can hold an image of gigabytes (a "decompression bomb"). OpenCV reads the variable when it is
loaded, so ``realtime`` imports this module before anything that imports OpenCV.
"""

import os

VARIABLE = "OPENCV_IO_MAX_IMAGE_PIXELS"
MAX_PIXELS = 2**28
"""268 million: 0.8 GB in memory, and more than any camera takes. OpenCV's own limit is four times as high."""

os.environ.setdefault(VARIABLE, str(MAX_PIXELS))
