"""What goes wrong when a model is to leave Python."""


class ExportError(ValueError):
    """The model cannot be written in that form; the message says why."""
