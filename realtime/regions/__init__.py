"""Looking closer: which regions of a frame go through the network, and what is made of all that was found in them."""
