"""Run the command line with `python -m roofline`."""

from roofline.cli import main

main()
