"""Many models, many seeds, and what may be concluded from them (06 and 07)."""

from mnist_helpers.study.claims import check_claims, claims_table, within
from mnist_helpers.study.comparison import compare, holm, prediction_interval
from mnist_helpers.study.parallel import side_by_side
from mnist_helpers.study.run import measure, read_study, run_study
