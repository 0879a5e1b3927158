"""Gradient flow of the forces that make neurons polysemantic: the public names.

Each is imported when it is first asked for, so that ``python -m flow.simulate --help`` does not
wait for the compiler. What they are and where they come from stands in ``__init__.pyi``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
