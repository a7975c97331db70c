"""Parts of `benchmarks.bench_reconcile`: the world around the deployers, one deployer as a process, and the rival."""
