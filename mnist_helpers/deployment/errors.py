"""What goes wrong when a model is to leave Python."""

from mnist_helpers.files import CheckpointError


class ExportError(CheckpointError):
    """The model of a run cannot be written in that form; the message says why."""
