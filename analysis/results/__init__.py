"""Results: rankings, sweeps and plots of an analysis."""
