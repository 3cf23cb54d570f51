"""The commands of ``realtime train``; each file has those of one step on the way from labels to a model."""
