"""The command line: a configuration file, flags, or both.

Flags set fields of the configuration file and override it. The same rules validate both.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepseek_server.config import Config, read_file, validate

DESCRIPTION = """\
Serve one DeepSeek model over the OpenAI API.

examples:
  deepseek-server --config /etc/deepseek/config.json
  deepseek-server --model deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B
  deepseek-server --model ./my-model --host 127.0.0.1 --port 8000 --dtype float32
"""


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Return the configuration that a command line specifies.

    Raises:
        PermanentError: the file or a flag's value is invalid.
        SystemExit: the command line is invalid (status 2), or --help was given.
    """
    parser = _parser()
    flags = parser.parse_args(arguments)
    if flags.config is None and flags.model is None:
        parser.error("one of --config FILE and --model PATH_OR_REPO_ID is required")
    content = {} if flags.config is None else read_file(flags.config)
    where = "the command line" if flags.config is None else f"the configuration file {flags.config}"
    _override(content, flags)
    return validate(content, where)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deepseek-server",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file (JSON)")
    parser.add_argument(
        "--model", metavar="PATH_OR_REPO_ID", help="model directory or Hugging Face repository"
    )
    parser.add_argument("--served-name", metavar="X", help="model name in the API; default: its id")
    parser.add_argument("--revision", metavar="R", help="branch, tag or commit of the repository")
    parser.add_argument(
        "--max-context",
        type=int,
        metavar="N",
        help="maximum tokens of prompt and completion together; default: all that the model allows",
    )
    parser.add_argument(
        "--dtype", help="auto (default; float32 on a CPU), bfloat16, float16 or float32"
    )
    parser.add_argument("--device", help="cpu (default) or cuda")
    parser.add_argument("--attention", help="attention backend: auto (default), sdpa or flashinfer")
    parser.add_argument(
        "--tensor-parallel", type=int, metavar="N", help="GPUs to shard the model over; default: 1"
    )
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on; 0 selects a free one")
    return parser


def _override(content: dict[str, Any], flags: argparse.Namespace) -> None:
    """Set the fields of the configuration file that flags were given for."""
    model = {
        "servedName": flags.served_name,
        "revision": flags.revision,
        "maxContext": flags.max_context,
        "dtype": flags.dtype,
    }
    if flags.model is not None:
        model |= _model_and_source(flags.model)
    for section, values in (
        ("model", model),
        ("listen", {"host": flags.host, "port": flags.port}),
    ):
        given = {name: value for name, value in values.items() if value is not None}
        if given:
            content[section] = {**(content.get(section) or {}), **given}
    top = {
        "device": flags.device,
        "attention": flags.attention,
        "tensorParallel": flags.tensor_parallel,
    }
    content |= {name: value for name, value in top.items() if value is not None}


def _model_and_source(model: str) -> dict[str, Any]:
    """Return the fields for --model: a local path if it exists or looks like one, else a repository."""
    path = Path(model)
    if path.exists() or model.startswith(("/", "./", "../", "~")):
        path = path.expanduser().absolute()
        return {"id": path.name, "source": {"path": str(path)}}
    return {"id": model, "source": {"huggingFace": {}}}
