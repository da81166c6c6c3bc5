"""What a training run saw, epoch by epoch and step by step (03_training.ipynb)."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: `epoch` counts from 1; losses in nats, accuracies 0 to 1, `seconds` of wall time.

    Losses are cross-entropy without label smoothing, so that they can be compared. The training
    figures are taken on the way, dropout on and weights still changing; the validation figures
    after the epoch, dropout off. `learning_rate` is that of the last step.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float

    @property
    def merit(self) -> tuple[float, float]:
        """What epochs are compared by: validation accuracy, then low validation loss."""
        return self.validation_accuracy, -self.validation_loss

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch:>2}  train loss {self.train_loss:.4f} accuracy "
            f"{self.train_accuracy:.2%}  validation loss {self.validation_loss:.4f} accuracy "
            f"{self.validation_accuracy:.2%}  ({self.seconds:.1f} s)"
        )


@dataclass(repr=False)
class History:
    """What `fit` saw: a record per epoch, the loss of every step, and where it ran.

    `interrupted` is True when Ctrl-C ended it; `precision` is `float32` or `bfloat16`.
    """

    device: str
    precision: str
    epochs: list[EpochRecord] = field(default_factory=list)
    step_losses: list[float] = field(default_factory=list)
    interrupted: bool = False

    @property
    def seconds(self) -> float:
        """Wall time of all epochs together, validation included."""
        return sum(record.seconds for record in self.epochs)

    @property
    def best(self) -> EpochRecord | None:
        """The epoch with the highest validation accuracy, then the lowest validation loss."""
        return max(self.epochs, key=lambda record: record.merit, default=None)

    def __repr__(self) -> str:
        best = f", best {self.best}" if self.best else ""
        return f"History of {len(self.epochs)} epochs on {self.device}{best}"

    def to_frame(self) -> "pd.DataFrame":
        """One row an epoch, a column for each field of `EpochRecord`."""
        import pandas as pd  # here: slow to import

        return pd.DataFrame(map(asdict, self.epochs), columns=list(EpochRecord.__annotations__))
