from .trainer import (
    train as train,
)
from .trajectory import (
    TrainingTrajectory as TrainingTrajectory,
)
from .trajectory import (
    forces_of as forces_of,
)

__all__ = [
    "TrainingTrajectory",
    "forces_of",
    "train",
]
