"""Both stages of training, the loop and its checkpoints, and what the trained autoencoder yields."""
