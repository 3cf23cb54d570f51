"""The commands of ``realtime``, one file each."""
