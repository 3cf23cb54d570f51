"""The training loop: options, batches, steps, resumable runs and their logs."""
