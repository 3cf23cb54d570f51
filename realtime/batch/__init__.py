"""Many files: finding images and videos, and where the results of each go."""
