"""The values that the paper and the profiles give to parameters, and how a person's text becomes a value."""
