"""Attacks on lorakit's promises: bad files, odd names, races, kills, a hostile hub, a hostile page.

Everything is drawn, nothing is kept as a file. `make attack` runs all of it and prints one table.
"""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
for room in ("", "weights", "embedded"):  # their drawings, stand-ins and fuzz are used here too
    if str(TESTS / room) not in sys.path:
        sys.path.append(str(TESTS / room))
