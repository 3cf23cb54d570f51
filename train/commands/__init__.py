"""The commands of ``python -m train``; each file has those of one step on the way from labels to a model."""
