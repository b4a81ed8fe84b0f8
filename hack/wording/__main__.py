"""Print every line with a word of the list; exit status 1 when there is one."""

import subprocess
import sys

from hack.wording import hits, read, rules


def main() -> int:
    """Check the files that git knows."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
    words, count = rules(), 0
    for path, text in read(listed.stdout.split(), words):
        for hit in hits(text, words, code=path.endswith(".py")):
            print(f"{path}:{hit.line}: {hit.word!r}; write instead: {hit.instead}")
            count += 1
    return 1 if count else 0


sys.exit(main())
