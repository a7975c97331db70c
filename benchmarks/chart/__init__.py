"""Parts of `bench_chart`."""
