"""Array kernels: numpy, scipy and torch on plain arrays; the labelled steps above them know dimensions."""
