"""The report: its page, notebooks as pages, the curated reference, and what everything costs."""
