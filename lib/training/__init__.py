"""Both stages of training, the loop and its checkpoints, what the trained autoencoder yields, the selection's
trials, and the growth of the AUC along a training."""
