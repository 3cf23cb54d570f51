"""Many cameras at once: one thread a camera that captures, and one detector that takes their newest frames in turn."""
