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
    toml as toml,
)
from .accounting import audit as audit
from .accounting import plan as plan
from .attribution import gradient as gradient
from .attribution import per_class as per_class
from .attribution import relevance_at as relevance_at
from .captured import Captured as Captured
from .captured import capture as capture
from .dataset import attribute_dataset as attribute_dataset
from .function import lrp as lrp
from .interventions import activations as activations
from .interventions import intervene as intervene
from .keys import versioned as versioned
from .methods import (
    input_x_gradient as input_x_gradient,
)
from .methods import (
    integrated_gradients as integrated_gradients,
)
from .methods import (
    occlusion as occlusion,
)
from .methods import (
    smoothgrad as smoothgrad,
)
from .storage import open_analysis as open_analysis
from .storage import open_attributions as open_attributions
from .virelay import to_virelay as to_virelay
