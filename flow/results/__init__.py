"""What a run leaves: its trajectory, events and certificate, and their file format."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
