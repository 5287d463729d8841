"""Studies of many runs: comparisons, sweeps and probes, and the checks of a dataset before a run."""
