"""How good a detector is: metrics, plots, and predictions beside their labels."""
