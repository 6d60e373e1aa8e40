from . import (
    attribution as attribution,
)
from . import (
    canonize as canonize,
)
from . import (
    composites as composites,
)
from . import (
    errors as errors,
)
from . import (
    heatmap as heatmap,
)
from . import (
    methods as methods,
)
from . import (
    ops as ops,
)
from . import (
    rules as rules,
)
from . import (
    schema as schema,
)
from . import (
    storage as storage,
)
from . import (
    toml as toml,
)
from .attribution.methods import input_x_gradient as input_x_gradient
from .attribution.methods import integrated_gradients as integrated_gradients
from .attribution.methods import occlusion as occlusion
from .attribution.methods import smoothgrad as smoothgrad
from .attribution.transforms import gradient as gradient
from .attribution.transforms import per_class as per_class
from .attribution.transforms import relevance_at as relevance_at
from .dataset.attribute import attribute_dataset as attribute_dataset
from .files.netcdf import open_analysis as open_analysis
from .files.netcdf import open_attributions as open_attributions
from .files.virelay import to_virelay as to_virelay
from .graph.captured import Captured as Captured
from .graph.captured import capture as capture
from .keys.values import versioned as versioned
from .relevance.accounting import audit as audit
from .relevance.accounting import plan as plan
from .relevance.function import lrp as lrp
from .relevance.interventions import activations as activations
from .relevance.interventions import intervene as intervene
