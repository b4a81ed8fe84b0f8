import json
from pathlib import Path

import pytest

from deepseek_server.command_line import parse
from deepseek_server.config import validate
from deepseek_server.errors import PermanentError

FILE = {
    "version": 1,
    "model": {
        "id": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
        "servedName": "r1",
        "revision": "main",
        "maxContext": 4096,
        "dtype": "auto",
        "source": {"huggingFace": {"endpoint": ""}},
        "toolFormat": "hermes",
        "reasoning": "off",
    },
    "listen": {"host": "0.0.0.0", "port": 8000},
    "device": "cpu",
    "attention": "auto",
    "tensorParallel": 1,
    "drainSeconds": 30,
}


def changed(**model: object) -> dict:
    return {**FILE, "model": {**FILE["model"], **model}}


def write(tmp_path: Path, content: object) -> str:
    path = tmp_path / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_the_operators_file(tmp_path: Path) -> None:
    config = parse(["--config", write(tmp_path, FILE)])
    assert config.model_dump(mode="json", by_alias=True, exclude_none=True) == FILE
    assert config.model.name == "r1"


def test_a_gang(tmp_path: Path) -> None:
    gang = {
        "pods": 2,
        "port": 29500,
        "meetSeconds": 600.0,
        "silenceSeconds": 30.0,
        "preflight": {"policy": "warn", "minGigabytesPerSecond": 10.0},
        "holds": "/etc/deepseek/holds/holds.json",
    }
    config = parse(["--config", write(tmp_path, {**FILE, "tensorParallel": 16, "gang": gang})])
    assert config.model_dump(mode="json", by_alias=True)["gang"] == gang
    assert config.ranks_per_pod == 8
    least = parse(["--config", write(tmp_path, {**FILE, "tensorParallel": 2, "gang": {"pods": 2}})])
    written = least.model_dump(mode="json", by_alias=True)["gang"]
    assert written == gang | {
        "preflight": {"policy": "fail", "minGigabytesPerSecond": None},
        "holds": None,
    }


def test_the_rules_for_requests(tmp_path: Path) -> None:
    asked = {
        "requestTimeoutSeconds": 600.0,
        "apiKeysFile": "/etc/deepseek/keys/keys.json",
        "tracing": {"endpoint": "http://collector:4318"},
    }
    config = parse(["--config", write(tmp_path, {**FILE, **asked})])
    assert config.request_timeout_seconds == 600
    assert config.api_keys_file == Path("/etc/deepseek/keys/keys.json")
    assert config.tracing is not None
    assert config.tracing.endpoint == "http://collector:4318"
    written = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert written == {**FILE, **asked}


def test_only_the_model_is_required() -> None:
    config = validate({"model": {"id": "a/b"}}, "it")
    assert config.model.name == "a/b"
    assert config.model.max_context is None
    assert config.model.source.hugging_face is not None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (changed(maxCtx=1), "model.maxCtx is not a known field"),
        (changed(maxContext=0), "model.maxContext: input should be greater"),
        (changed(dtype="int4"), "model.dtype: input should be 'auto'"),
        (changed(source={}), "exactly one of huggingFace and path"),
        (changed(source={"huggingFace": {}, "path": "/x"}), "exactly one of huggingFace and path"),
        (changed(source={"s3": {}}), "model.source.s3 is not a known field"),
        ({"version": 1}, "model is missing"),
        ({**FILE, "version": 2}, "has version 2, but this server supports version 1"),
        ({**FILE, "device": "tpu"}, "device: input should be 'cpu' or 'cuda'"),
        ({**FILE, "listen": {"port": 70000}}, "listen.port: input should be less"),
        ({**FILE, "requestTimeoutSeconds": -1}, "requestTimeoutSeconds: input should be greater"),
        ({**FILE, "tracing": {}}, "tracing.endpoint is missing"),
        ({**FILE, "tracing": {"endpoint": "collector:4317"}}, "tracing.endpoint: string should"),
        ("{", "is not valid JSON"),
        ("[]", "must contain a JSON object"),
    ],
)
def test_an_invalid_file_is_rejected_with_a_message(
    tmp_path: Path, content: object, words: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(PermanentError) as failure:
        parse(["--config", path])
    assert words in str(failure.value)
    assert path in str(failure.value)


def test_a_missing_file() -> None:
    with pytest.raises(PermanentError, match="No such file"):
        parse(["--config", "/does/not/exist.json"])


def test_flags_override_the_file(tmp_path: Path) -> None:
    config = parse(
        ["--config", write(tmp_path, FILE), "--served-name", "x", "--port", "9", "--dtype=float16"]
    )
    assert (config.model.name, config.listen.port, config.model.dtype) == ("x", 9, "float16")
    assert (config.model.id, config.listen.host) == (FILE["model"]["id"], "0.0.0.0")


def test_a_directory_is_distinguished_from_a_repository(tmp_path: Path) -> None:
    assert parse(["--model", str(tmp_path)]).model.source.path == tmp_path
    assert parse(["--model", "/no/such"]).model.source.path == Path("/no/such")
    assert parse(["--model", "a/b"]).model.source.hugging_face is not None
    assert parse(["--model", str(tmp_path)]).model.name == tmp_path.name


def test_a_command_line_without_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse([])
    assert end.value.code == 2
    assert "--config FILE and --model" in capsys.readouterr().err
