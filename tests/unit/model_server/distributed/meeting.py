"""A rank of a model over several pods, one rank each: connects, runs the preflight, and then ..."""

import argparse
import logging
import os
import threading
import time
from pathlib import Path

from deepseek_server.distributed import exit_reasons
from deepseek_server.distributed.exit_reasons import ExitReason
from deepseek_server.distributed.preflight import preflight
from deepseek_server.distributed.process_group import SINGLE_PROCESS, Group, join
from deepseek_server.distributed.rank_info import GangInfo
from deepseek_server.errors import PermanentError, StartError


def then(what: str, group: Group) -> None:
    match what:
        case "wait":
            threading.Event().wait()
        case "fail" if group.rank == 1:
            raise PermanentError("the disk is broken")
        case "fail":
            group.broadcast_object(group.rank and None)
            group.all_gather_object(None)
        case "fail-all":
            time.sleep(0.1 * group.rank)
            raise PermanentError("the disk is broken")
        case "compute":
            began = time.monotonic()
            while time.monotonic() - began < 3:  # pure Python, which holds the GIL
                sum(range(1000))
            group.all_gather_object(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gang_info", type=Path)
    parser.add_argument("--then", default="end")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(message)s")
    group, gang_info, code = SINGLE_PROCESS, GangInfo.read(arguments.gang_info.read_text()), 0
    try:
        group = join("cpu", gang_info)
        preflight(group, "cpu", gang_info)
        print("together", flush=True)
        then(arguments.then, group)
        group.close()
    except StartError as error:
        logging.error("%s", error)
        exit_reason = ExitReason(int(os.environ["RANK"]), error.exit_code, str(error))
        exit_reasons.write(gang_info.directory, exit_reason)
        group.fail(str(error))
        code = error.exit_code
    os._exit(code)


if __name__ == "__main__":
    main()
