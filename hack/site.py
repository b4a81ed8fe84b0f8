"""Hook of mkdocs (mkdocs.yml): pages that lie outside docs/, and links to files of the repository.

On a code host a link such as ../examples/gpu.yaml shows the file. The site has no files but those
below docs/, so each file that a page links to becomes part of it, below files/, and a folder a page
that lists its files. A link to a file that does not exist is left alone and mkdocs reports it.
"""

import os.path
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs/"
# Pages of the site by their files outside docs/.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "RELEASE.md": "release.md",
    "SECURITY.md": "security.md",
    "charts/deepseek-operator/README.md": "chart.md",
}
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?=(#[^)\s]*)?\))")
FENCED = re.compile(r"(^[ ]*```.*?^[ ]*```[ ]*$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, and everything in the repository that a page links to."""
    for source, uri in PAGES.items():
        text = (ROOT / source).read_text()
        files.append(File.generated(config, uri, content=text))
    linked = {
        target
        for file in files.documentation_pages()
        for target in _targets(_source(file.src_uri), file.content_string)
        if not target.startswith(DOCS) and target not in PAGES
    }
    for target in sorted(linked):
        _add(files, config, target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    source, uri = _source(page.file.src_uri), page.file.src_uri

    def replace(match: re.Match[str]) -> str:
        target = _uri(_resolve(source, match["path"]))
        return os.path.relpath(target, Path(uri).parent) if target else match["path"]

    return "".join(part if code else LINK.sub(replace, part) for code, part in _parts(markdown))


def _add(files: Files, config: MkDocsConfig, target: str) -> None:
    """Add a file, or a folder's files and a page that lists them."""
    if files.get_file_from_path(f"files/{target}") is not None:
        return
    if target in _tracked():
        files.append(File.generated(config, f"files/{target}", abs_src_path=str(ROOT / target)))
        return
    below = [path for path in _tracked() if path.startswith(f"{target}/")]
    if below:
        lines = [f"- [{path}]({os.path.relpath(path, target)})" for path in below]
        content = "\n".join([f"# {target}", "", *lines, ""])
        files.append(File.generated(config, f"files/{target}/index.md", content=content))
    for path in below:
        _add(files, config, path)


def _targets(source: str, text: str) -> Iterator[str]:
    """Yield the paths in the repository that a file of it links to."""
    for code, part in _parts(text):
        for match in () if code else LINK.finditer(part):
            yield _resolve(source, match["path"])


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the text in parts, and whether each is a fenced block of code."""
    for number, part in enumerate(FENCED.split(text)):
        yield number % 2 == 1, part


def _resolve(source: str, path: str) -> str:
    return os.path.normpath(Path(source).parent / path)


def _source(uri: str) -> str:
    """Return where a page of the site lies in the repository."""
    outside = {page: source for source, page in PAGES.items()}
    if uri.startswith("files/"):
        return uri.removeprefix("files/")
    return outside.get(uri, DOCS + uri)


def _uri(target: str) -> str | None:
    """Return where a file or folder of the repository lies in the site; None: not there."""
    if target in PAGES:
        return PAGES[target]
    if target.startswith(DOCS):
        return target.removeprefix(DOCS)
    if target in _tracked():
        return f"files/{target}"
    return f"files/{target}/index.md" if (ROOT / target).is_dir() else None


@cache
def _tracked() -> tuple[str, ...]:
    """Return the files that git has, so that nothing else of a checkout is published."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    return tuple(sorted(listed.stdout.split("\0")[:-1]))
