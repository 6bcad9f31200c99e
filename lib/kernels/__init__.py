"""Faster arithmetic for `losses` and `glow`. Each has a reference version in tests/ and timings in
benchmarks/."""
