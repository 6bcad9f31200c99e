"""The values that the paper and the profiles give to parameters, and the parsing of values typed by the
user."""
