from .pairs import (
    Collisions as Collisions,
)
from .pairs import (
    Fate as Fate,
)
from .pairs import (
    Fates as Fates,
)
from .pairs import (
    History as History,
)
from .pairs import (
    collisions as collisions,
)
from .pairs import (
    follow_collisions as follow_collisions,
)
from .pairs import (
    initial_collisions as initial_collisions,
)
from .pairs import (
    largest_collisions as largest_collisions,
)
from .states import (
    AUTHORS_WINDOW as AUTHORS_WINDOW,
)
from .states import (
    EndStates as EndStates,
)
from .states import (
    FeatureState as FeatureState,
)
from .states import (
    NeuronState as NeuronState,
)
from .states import (
    Winners as Winners,
)
from .states import (
    end_states as end_states,
)
from .states import (
    is_polysemantic as is_polysemantic,
)
from .states import (
    polysemantic_neurons as polysemantic_neurons,
)
from .states import (
    row_residuals as row_residuals,
)
from .states import (
    winners as winners,
)
from .stationarity import (
    certify as certify,
)
from .stationarity import (
    hessian_product as hessian_product,
)
from .stationarity import (
    lowest_curvature as lowest_curvature,
)
from .statistics import mean_and_interval as mean_and_interval
from .statistics import standard_error as standard_error
from .superposition import (
    Alignment as Alignment,
)
from .superposition import (
    Geometry as Geometry,
)
from .superposition import (
    alignment as alignment,
)
from .superposition import (
    geometry as geometry,
)

__all__ = [
    "AUTHORS_WINDOW",
    "Alignment",
    "Collisions",
    "EndStates",
    "Fate",
    "Fates",
    "FeatureState",
    "Geometry",
    "History",
    "NeuronState",
    "Winners",
    "alignment",
    "certify",
    "collisions",
    "end_states",
    "follow_collisions",
    "geometry",
    "hessian_product",
    "initial_collisions",
    "is_polysemantic",
    "largest_collisions",
    "lowest_curvature",
    "mean_and_interval",
    "polysemantic_neurons",
    "row_residuals",
    "standard_error",
    "winners",
]
