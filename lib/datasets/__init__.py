"""From files to arrays: layouts of the benchmarks, videos of one's own, the generated set, fetching,
preparing."""
