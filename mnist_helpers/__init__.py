"""The tensor and training code behind the MNIST notebooks. Importing it does no work."""

from mnist_helpers.adversarial import fgsm, fit_adversarial, pgd
from mnist_helpers.augmentation import (
    AUGMENTATIONS,
    affine,
    affine_offsets,
    augment,
    distort,
    elastic,
    erase,
    noise,
    shift,
    warp,
)
from mnist_helpers.certainty import Certainty, fit_certainty
from mnist_helpers.checkpoints import Run, load_run, save_report, save_run, versions
from mnist_helpers.claims import check_claims, claims_table, mean_interval, within
from mnist_helpers.corruptions import (
    CORRUPTIONS,
    corrupted,
    corruption_errors,
    corruption_lines,
    load_mnist_c,
)
from mnist_helpers.data import DataError, DigitSet, Mnist, data_folder, load_mnist
from mnist_helpers.evaluation import (
    McNemar,
    Report,
    calibration,
    evaluate,
    expected_calibration_error,
    loss_and_accuracy,
    mcnemar,
    predict_logits,
    report_on,
    wilson_interval,
)
from mnist_helpers.handwriting import FoundDigit, digit_from_image, digits_from_image
from mnist_helpers.history import EpochRecord, History
from mnist_helpers.ink import Ink, find_ink
from mnist_helpers.marks import DigitNotFound
from mnist_helpers.mnist_files import read_idx
from mnist_helpers.models import (
    Crop,
    DigitClassifier,
    Normalize,
    count_multiply_adds,
    count_parameters,
)
from mnist_helpers.muon import Muon, orthogonalized
from mnist_helpers.paper import digit_strokes, draw_strokes, page, pasted, photographed
from mnist_helpers.prediction import Reading, load_image, predict, prediction_lines, read_digits
from mnist_helpers.recipes import (
    Recipe,
    RecipeError,
    epoch_seed,
    learning_rate_at,
    make_optimizer,
    resolve_device,
    resolve_precision,
)
from mnist_helpers.speedrun import SPEED_CSV, SpeedRun
from mnist_helpers.storage import CheckpointError
from mnist_helpers.study import machine_name, run_study
from mnist_helpers.study_files import REGULARISATION_CSV, ROBUSTNESS_CSV, StudyError, read_study
from mnist_helpers.training import TrainingDiverged, fit, forward_and_loss
from mnist_helpers.zoo import PUBLISHED, ZOO, ZooEntry, load_or_train

__all__ = [
    "AUGMENTATIONS",
    "CORRUPTIONS",
    "PUBLISHED",
    "REGULARISATION_CSV",
    "ROBUSTNESS_CSV",
    "SPEED_CSV",
    "ZOO",
    "Certainty",
    "CheckpointError",
    "Crop",
    "DataError",
    "DigitClassifier",
    "DigitNotFound",
    "DigitSet",
    "EpochRecord",
    "FoundDigit",
    "History",
    "Ink",
    "McNemar",
    "Mnist",
    "Muon",
    "Normalize",
    "Reading",
    "Recipe",
    "RecipeError",
    "Report",
    "Run",
    "SpeedRun",
    "StudyError",
    "TrainingDiverged",
    "ZooEntry",
    "affine",
    "affine_offsets",
    "augment",
    "calibration",
    "check_claims",
    "claims_table",
    "corrupted",
    "corruption_errors",
    "corruption_lines",
    "count_multiply_adds",
    "count_parameters",
    "data_folder",
    "digit_from_image",
    "digit_strokes",
    "digits_from_image",
    "distort",
    "draw_strokes",
    "elastic",
    "epoch_seed",
    "erase",
    "evaluate",
    "expected_calibration_error",
    "fgsm",
    "find_ink",
    "fit",
    "fit_adversarial",
    "fit_certainty",
    "forward_and_loss",
    "learning_rate_at",
    "load_image",
    "load_mnist",
    "load_mnist_c",
    "load_or_train",
    "load_run",
    "loss_and_accuracy",
    "machine_name",
    "make_optimizer",
    "mcnemar",
    "mean_interval",
    "noise",
    "orthogonalized",
    "page",
    "pasted",
    "pgd",
    "photographed",
    "predict",
    "predict_logits",
    "prediction_lines",
    "read_digits",
    "read_idx",
    "read_study",
    "report_on",
    "resolve_device",
    "resolve_precision",
    "run_study",
    "save_report",
    "save_run",
    "shift",
    "versions",
    "warp",
    "wilson_interval",
    "within",
]
