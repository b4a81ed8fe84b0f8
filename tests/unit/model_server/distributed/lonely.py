"""A rank with a short timeout for the others."""

import logging
import os
import sys
from datetime import timedelta

from deepseek_server.distributed import process_group as groups
from deepseek_server.errors import StartError, report

if __name__ == "__main__":
    logging.basicConfig()
    groups.START_TIMEOUT = timedelta(seconds=float(os.environ["START_SECONDS"]))
    try:
        groups.join("cpu")
    except StartError as error:
        sys.exit(report(error))
