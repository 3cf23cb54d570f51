"""``train quick``: from a shipped detector and a user's images to a detector of their own, with what it is worth.

The parts are made here and put together by ``train.commands.quick``.
"""
