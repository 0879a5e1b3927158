from .trainer import (
    TrainingTrajectory as TrainingTrajectory,
)
from .trainer import (
    forces_of as forces_of,
)
from .trainer import (
    train as train,
)

__all__ = [
    "TrainingTrajectory",
    "forces_of",
    "train",
]
