"""The steps, their records, what has to run and why, and how one notebook runs."""
