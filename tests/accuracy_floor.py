"""Fail if the test accuracy in a summary of `make run` is under a floor.

python tests/accuracy_floor.py 0.991 summary.txt
"""

import re
import sys
from pathlib import Path

floor, summary = float(sys.argv[1]), Path(sys.argv[2]).read_text(encoding="utf-8")
found = re.search(r"^test accuracy: ([\d.]+)%", summary, re.M)
if found is None:
    sys.exit("the summary names no test accuracy")
accuracy = float(found[1]) / 100
print(f"test accuracy {accuracy:.4f}, floor {floor:.4f}")
if accuracy < floor:
    sys.exit("the test accuracy is under the floor")
