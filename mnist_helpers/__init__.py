"""The tensor and training code behind the MNIST notebooks. Importing it does no work."""

from mnist_helpers.augmentation import shift
from mnist_helpers.checkpoints import Run, load_run, save_report, save_run, versions
from mnist_helpers.claims import check_claims, claims_table, mean_interval, within
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
from mnist_helpers.history import EpochRecord, History
from mnist_helpers.mnist_files import read_idx
from mnist_helpers.models import (
    Crop,
    DigitClassifier,
    Normalize,
    count_multiply_adds,
    count_parameters,
)
from mnist_helpers.muon import Muon, orthogonalized
from mnist_helpers.prediction import load_image, predict, prediction_lines
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
from mnist_helpers.study_files import StudyError, read_study
from mnist_helpers.training import TrainingDiverged, fit, forward_and_loss
from mnist_helpers.zoo import PUBLISHED, ZOO, ZooEntry, load_or_train

__all__ = [
    "PUBLISHED",
    "SPEED_CSV",
    "ZOO",
    "CheckpointError",
    "Crop",
    "DataError",
    "DigitClassifier",
    "DigitSet",
    "EpochRecord",
    "History",
    "McNemar",
    "Mnist",
    "Muon",
    "Normalize",
    "Recipe",
    "RecipeError",
    "Report",
    "Run",
    "SpeedRun",
    "StudyError",
    "TrainingDiverged",
    "ZooEntry",
    "calibration",
    "check_claims",
    "claims_table",
    "count_multiply_adds",
    "count_parameters",
    "data_folder",
    "epoch_seed",
    "evaluate",
    "expected_calibration_error",
    "fit",
    "forward_and_loss",
    "learning_rate_at",
    "load_image",
    "load_mnist",
    "load_or_train",
    "load_run",
    "loss_and_accuracy",
    "machine_name",
    "make_optimizer",
    "mcnemar",
    "mean_interval",
    "orthogonalized",
    "predict",
    "predict_logits",
    "prediction_lines",
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
    "wilson_interval",
    "within",
]
