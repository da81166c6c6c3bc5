"""What breaks a model, and what helps: corruptions and attacks (08_robustness.ipynb)."""

from mnist_helpers.robustness.attacks import fgsm, fit_adversarial, pgd
from mnist_helpers.robustness.corruptions import CORRUPTIONS, RELATIVES
from mnist_helpers.robustness.measure import (
    corrupted,
    corruption_errors,
    corruption_lines,
    load_mnist_c,
)
