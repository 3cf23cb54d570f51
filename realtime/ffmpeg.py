"""PyAV, imported after OpenCV.

Both wheels bring libxcb; where PyAV's is loaded first, the first window of OpenCV's Qt hangs for ever (seen with
PyAV 18.1 and opencv-python 5.0 on Linux). All modules of the app take ``av`` from here.
"""

import cv2  # noqa: F401, I001 - the order is the point
import av  # noqa: TID251
from av.sidedata.sidedata import SideDataContainer  # noqa: TID251

__all__ = ["SideDataContainer", "av"]
