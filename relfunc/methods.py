"""What :mod:`relfunc.attribution.methods` has, under its public name."""

from .attribution.methods import MethodError, Progress, input_x_gradient, integrated_gradients, occlusion, smoothgrad

__all__ = [
    "MethodError",
    "Progress",
    "input_x_gradient",
    "integrated_gradients",
    "occlusion",
    "smoothgrad",
]
