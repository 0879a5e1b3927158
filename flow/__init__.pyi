from .analysis.stationarity import certify as certify
from .driver.ensemble import integrate_ensemble as integrate_ensemble
from .driver.integration import integrate as integrate
from .driver.simulation import Simulation as Simulation
from .forces import (
    CoOccurrence as CoOccurrence,
)
from .forces import (
    FeatureBenefit as FeatureBenefit,
)
from .forces import (
    Force as Force,
)
from .forces import (
    Interference as Interference,
)
from .forces import (
    L2Regularization as L2Regularization,
)
from .forces import (
    NoisyFeatureBenefit as NoisyFeatureBenefit,
)
from .forces import (
    NoisyInterference as NoisyInterference,
)
from .forces import (
    Regularization as Regularization,
)
from .forces import (
    velocity as velocity,
)
from .initial import gaussian_init as gaussian_init
from .results.certificate import Certificate as Certificate
from .results.observables import Observables as Observables
from .results.status import Status as Status
from .results.trajectory import Trajectory as Trajectory
from .version import __version__ as __version__

__all__ = [
    "Certificate",
    "CoOccurrence",
    "FeatureBenefit",
    "Force",
    "Interference",
    "L2Regularization",
    "NoisyFeatureBenefit",
    "NoisyInterference",
    "Observables",
    "Regularization",
    "Simulation",
    "Status",
    "Trajectory",
    "__version__",
    "certify",
    "gaussian_init",
    "integrate",
    "integrate_ensemble",
    "velocity",
]
