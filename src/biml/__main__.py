"""`python -m biml`: the command line."""

import sys

from biml.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
