from .cli import main as main
from .config import InputError as InputError
from .launch import run as run
from .results import (
    Sweep as Sweep,
)
from .results import (
    load as load,
)
from .runs import Run as Run
from .store import SweepError as SweepError

__all__ = [
    "InputError",
    "Run",
    "Sweep",
    "SweepError",
    "load",
    "main",
    "run",
]
