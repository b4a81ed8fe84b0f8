"""A rank of a model over several pods, one rank each: connects, runs the preflight, and then ..."""

import argparse
import logging
import os
import threading
import time
from pathlib import Path

from deepseek_server.distributed import exit_reasons as causes
from deepseek_server.distributed.exit_reasons import Cause
from deepseek_server.distributed.preflight import preflight
from deepseek_server.distributed.process_group import ALONE, Group, join
from deepseek_server.distributed.rank_info import Team
from deepseek_server.errors import PermanentError, StartError


def then(what: str, group: Group) -> None:
    match what:
        case "wait":
            threading.Event().wait()
        case "fail" if group.rank == 1:
            raise PermanentError("the disk is broken")
        case "fail":
            group.share(group.rank and None)
            group.gather(None)
        case "fail-all":
            time.sleep(0.1 * group.rank)
            raise PermanentError("the disk is broken")
        case "compute":
            began = time.monotonic()
            while time.monotonic() - began < 3:  # pure Python, which holds the GIL
                sum(range(1000))
            group.gather(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("team", type=Path)
    parser.add_argument("--then", default="end")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(message)s")
    group, team, code = ALONE, Team.read(arguments.team.read_text()), 0
    try:
        group = join("cpu", team)
        preflight(group, "cpu", team)
        print("together", flush=True)
        then(arguments.then, group)
        group.close()
    except StartError as error:
        logging.error("%s", error)
        cause = Cause(int(os.environ["RANK"]), error.exit_code, str(error))
        causes.leave(team.directory, cause)
        group.fail(str(error))
        code = error.exit_code
    os._exit(code)


if __name__ == "__main__":
    main()
