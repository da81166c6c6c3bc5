"""How fast can training be? (10_speed.ipynb)"""

from mnist_helpers.speed.race import SpeedRun
