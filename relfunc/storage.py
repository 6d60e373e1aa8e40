"""What :mod:`relfunc.files.netcdf` has, under its public name."""

from .files.netcdf import (
    attributions_files,
    is_locked,
    open_analysis,
    open_attributions,
    replacing,
    save,
    unread_analysis,
    unread_attributions,
)

__all__ = [
    "attributions_files",
    "is_locked",
    "open_analysis",
    "open_attributions",
    "replacing",
    "save",
    "unread_analysis",
    "unread_attributions",
]
