"""The steps, their records, which of them have to run and why, and how one notebook is run."""
