from .certificate import Certificate as Certificate
from .events import (
    Events as Events,
)
from .events import (
    OverlapEvents as OverlapEvents,
)
from .events import (
    WeightEvents as WeightEvents,
)
from .observables import Observables as Observables
from .status import Status as Status
from .trajectory import Trajectory as Trajectory

__all__ = [
    "Certificate",
    "Events",
    "Observables",
    "OverlapEvents",
    "Status",
    "Trajectory",
    "WeightEvents",
]
