"""From a photo, a scan or a drawing to a digit that a model reads (09_handwriting.ipynb).

The drawing pad, `mnist_helpers.handwriting.drawing`, needs anywidget: import it by itself.
"""

from mnist_helpers.handwriting.digits import FoundDigit, digit_from_image, digits_from_image
from mnist_helpers.handwriting.ink import find_ink
from mnist_helpers.handwriting.marks import DigitNotFound
from mnist_helpers.handwriting.paper import digit_strokes, draw_strokes, page, pasted, photographed
from mnist_helpers.handwriting.reading import PageReading, Reading, read_digits
