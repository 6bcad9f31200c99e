"""Both training stages, the training loop and its checkpoints, the pass of the trained autoencoder over a
data set, the trials of the selection, and the growth of the AUC during training."""
