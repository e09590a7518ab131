"""``python -m lifeline_core``."""

from lifeline_core.cli import main

main()
