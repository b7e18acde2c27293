"""Run streamcam as ``python -m streamcam``."""

import sys
from pathlib import Path

# With -m Python looks for every module in the current folder first, whatever lies there.
if sys.path[0] == str(Path.cwd()) != str(Path(__file__).parents[1]):
    del sys.path[0]

from streamcam.cli import main

if __name__ == "__main__":
    main()
