"""Attribution for PyTorch as pure functions.

The public names and their homes stand in ``__init__.pyi``. Each is imported when it is first used: reading results
takes no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
