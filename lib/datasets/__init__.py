"""From files to arrays: layouts of the benchmarks, your own videos, the generated set, fetching,
preparing."""
