"""Data sets: reading and checking YOLO labels, augmentation, and pictures of what the network sees."""
