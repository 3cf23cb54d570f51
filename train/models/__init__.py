"""Detectors: torchvision Faster R-CNN in four architectures, their losses, weights and checkpoints."""
