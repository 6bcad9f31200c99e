"""The arithmetic of `losses` and `glow`, faster. Each has an oracle in tests/ and a record in benchmarks/."""
