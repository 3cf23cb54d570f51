"""Data sets: reading and checking YOLO labels, augmentation, and near-duplicates."""
