"""Search for the options of a training: many short runs, of which the hopeless ones end early."""
