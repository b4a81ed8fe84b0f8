"""The source of a model's files: a mounted directory, or a model hub.

Only what the server reads is downloaded: weights in safetensors, configuration and tokenizer.
"""

import fnmatch
import os
import shutil
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.hf_api import RepoSibling
from tqdm.auto import tqdm  # type: ignore[import-untyped]  # ships no types

from deepseek_server.config import ModelConfig
from deepseek_server.errors import PermanentError, StartError, TransientError
from deepseek_server.server.lifecycle import Progress, readable_bytes

FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model")
INFO_TIMEOUT_SECONDS = 10.0


def locate(model: ModelConfig, progress: Progress) -> Path:
    """Return the directory of the model's files; download them if necessary.

    Raises:
        StartError: the files are not available; its class states whether a retry can help.
    """
    if model.source.path is not None:
        return _mounted(model.source.path)
    assert model.source.hugging_face is not None  # noqa: S101 - validated: exactly one source
    return _download(model, model.source.hugging_face.endpoint, progress)


def _mounted(path: Path) -> Path:
    if not path.exists():
        raise PermanentError(
            f"the model directory {path} does not exist: check the path and the volume "
            "that it is mounted from"
        )
    if not path.is_dir():
        raise PermanentError(
            f"the model path {path} is a file: set it to the directory that contains config.json"
        )
    try:
        next(path.iterdir(), None)
    except OSError as error:
        raise PermanentError(
            f"the model directory {path} cannot be read ({error.strerror}): grant read access to "
            f"user {os.getuid()}"
        ) from error
    return path


def _download(model: ModelConfig, endpoint: str, progress: Progress) -> Path:
    missing = _missing_bytes(model, endpoint)
    _check_space(model, missing)
    progress.begin(f"downloading {model.id}", missing)
    try:
        directory = snapshot_download(
            model.id,
            revision=model.revision,
            endpoint=endpoint or None,
            token=_token(),
            allow_patterns=list(FILES),
            tqdm_class=_bar_class(progress),
        )
    except (HfHubHTTPError, httpx2.HTTPError, HFValidationError, OSError) as error:
        raise _explain(error, model, endpoint) from error
    return Path(directory)


def _explain(error: Exception, model: ModelConfig, endpoint: str) -> StartError:
    """Return an error that explains a failed download to the user."""
    hub = endpoint or os.environ.get("HF_ENDPOINT") or "the model hub"
    has_token = _token() is not None
    match error:
        case GatedRepoError():
            what = "does not grant access to it" if has_token else "is missing"
            return PermanentError(
                f"{model.id} is a gated repository on {hub} and the token {what}: accept the "
                "model's terms there and set HF_TOKEN to a token of that account"
            )
        case RepositoryNotFoundError() | HFValidationError():
            hint = "" if has_token else "; a private repository requires a token (HF_TOKEN)"
            return PermanentError(
                f"there is no model repository {model.id} on {hub}: check the spelling, "
                f"owner/name{hint}"
            )
        case RevisionNotFoundError():
            return PermanentError(
                f"{model.id} has no revision {model.revision} on {hub}: set revision to an "
                "existing branch, tag or commit"
            )
        case HfHubHTTPError() if error.response.status_code in (401, 403):
            return PermanentError(
                f"{hub} refused access to {model.id} (HTTP {error.response.status_code}): "
                "check the token (HF_TOKEN)"
            )
        case OSError() if error.errno is not None and not isinstance(
            error, HfHubHTTPError | LocalEntryNotFoundError | ConnectionError
        ):
            return PermanentError(
                f"the files of {model.id} cannot be stored ({error.strerror}): mount a writable "
                "volume with enough space as the cache (HF_HOME)"
            )
        case _:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            return TransientError(
                f"{model.id} could not be downloaded from {hub} ({reason}): check that the hub "
                "is reachable from this pod or machine; the next attempt resumes the download"
            )


def _missing_bytes(model: ModelConfig, endpoint: str) -> int:
    """Return the size of the files that are not in the cache yet; 0 if the hub does not report it.

    The hub's client reports only the bytes of these, so files of an earlier start do not count.
    """
    try:
        info = HfApi(endpoint=endpoint or None, token=_token()).model_info(
            model.id, revision=model.revision, files_metadata=True, timeout=INFO_TIMEOUT_SECONDS
        )
    except (HfHubHTTPError, httpx2.HTTPError, HFValidationError, OSError):
        return 0  # the download fails in the same way and reports it
    return sum(
        file.size or 0
        for file in info.siblings or ()
        if any(fnmatch.fnmatch(file.rfilename, pattern) for pattern in FILES)
        and not _is_cached(model, info.sha, file)
    )


def _is_cached(model: ModelConfig, commit: str | None, file: RepoSibling) -> bool:
    """Return whether a file is in the cache, possibly as part of an earlier commit."""
    if isinstance(try_to_load_from_cache(model.id, file.rfilename, revision=commit), str):
        return True
    content = file.lfs.sha256 if file.lfs else file.blob_id
    folder = repo_folder_name(repo_id=model.id, repo_type="model")
    return bool(content) and Path(constants.HF_HUB_CACHE, folder, "blobs", str(content)).is_file()


def _check_space(model: ModelConfig, missing: int) -> None:
    """Refuse a download that does not fit on the disk; otherwise it would fail hours later."""
    place = Path(constants.HF_HUB_CACHE)
    existing = next(path for path in (place, *place.absolute().parents) if path.exists())
    disk = shutil.disk_usage(existing)
    if missing > disk.free and disk.total:  # some network file systems report nothing
        raise PermanentError(
            f"the files of {model.id} that are still to be downloaded need "
            f"{readable_bytes(missing)}, but {place} has only {readable_bytes(disk.free)} free: "
            "mount a larger volume as the cache (HF_HOME)"
        )


def _token() -> str | None:
    return os.environ.get("HF_TOKEN") or None


def _bar_class(progress: Progress) -> type[Any]:
    """Return a tqdm class for the hub's client that prints nothing and updates `progress`."""

    class Bar(tqdm):  # type: ignore[misc]  # not typed
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})
            # There are bars for files, for bytes received and for bytes written: use the last.
            description = str(options.get("desc", ""))
            self._counts = options.get("unit") == "B" and "Reconstructing" in description

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if self._counts:
                progress.reach(int(self.n))

    return Bar
