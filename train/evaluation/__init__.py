"""How good a detector is: metrics, plots, and predictions beside their labels."""

import logging

# Before matplotlib is loaded: it reports its caches and the fonts that it lacks on standard error.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
