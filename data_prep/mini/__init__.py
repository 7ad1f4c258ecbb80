"""What the generators of the embedded data and their pretraining share."""
