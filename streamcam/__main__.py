"""Run streamcam as ``python -m streamcam``."""

from streamcam.cli import main

if __name__ == "__main__":
    main()
