"""`python -m biml COMMAND …`, which is `biml COMMAND …` where no such program is on the path."""

import sys

from biml.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
