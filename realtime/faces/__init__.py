"""Faces over time: which features belong to which face, who is who from frame to frame, and steady boxes."""
