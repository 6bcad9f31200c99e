"""Both stages of training, the loop and its checkpoints, what the trained autoencoder yields, and the
selection's trials."""
