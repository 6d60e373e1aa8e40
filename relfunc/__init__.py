"""Attribution for PyTorch as pure functions."""
