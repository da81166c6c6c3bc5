"""Why this answer? Maps of pixels, and the training digits nearest to a digit
(11_explanation.ipynb).
"""

from mnist_helpers.explanation.maps import (
    deletion_drop,
    grad_cam,
    integrated_gradients,
    occlusion,
    saliency,
)
from mnist_helpers.explanation.neighbours import nearest
