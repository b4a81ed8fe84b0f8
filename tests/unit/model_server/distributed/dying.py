"""Ranks of which one exits silently while the others wait for it: `--in share` or `all_reduce`."""

import argparse
import logging
import os
import signal
import time

import torch

from deepseek_server.distributed.process_group import join


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in", dest="operation", choices=("share", "all_reduce", "nothing"))
    parser.add_argument("--rank", type=int)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(message)s")
    group = join("cpu")
    if group.rank == arguments.rank:
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        match arguments.operation:
            case "share":
                group.broadcast_object(0)
            case "all_reduce":
                group.all_reduce(torch.ones(1))
            case _:
                time.sleep(1)


if __name__ == "__main__":
    main()
