"""Why this answer? Maps of pixels, and how to test them (11_explanation.ipynb)."""

from mnist_helpers.explanation.maps import (
    deletion_drop,
    grad_cam,
    integrated_gradients,
    occlusion,
    saliency,
)
