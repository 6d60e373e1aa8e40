"""Dataset-wide analysis of attributions: memoized pure functions over labelled datasets."""

import lazy_loader

# __init__.pyi says what is public and where it stands; the viewer, which needs little of it, waits for nothing else
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
