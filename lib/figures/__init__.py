"""Every figure, drawn from stored results in one style."""
