"""Runner of the command line in this process."""

import contextlib
import io
import sys
from dataclasses import dataclass
from unittest import mock

from deepseek_operator.cli.app import main


@dataclass
class Result:
    code: int
    out: str
    err: str


def deepseek(*arguments: object) -> Result:
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = ["deepseek", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Result(code, out.getvalue(), err.getvalue())
