"""Nothing leaves the machine: onnxruntime's telemetry is off.

It begins when the library is loaded: a device id and events are stored in the user's cache, and its collector is looked
up. ``realtime``, ``train`` and ``export`` import this module before anything that imports onnxruntime.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
