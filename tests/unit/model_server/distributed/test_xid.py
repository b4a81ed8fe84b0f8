from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.distributed.xid import last_xid, latest

RECORDS = [
    "6,1201,98000000,-;NVRM: loading NVIDIA UNIX x86_64 Kernel Module  580.95",
    "3,1202,99000000,-;NVRM: Xid (PCI:0000:3b:00): 31, pid=77, name=python, Ch 00000008\n",
    "3,1203,99100000,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off "
    "the bus.\n",
    "4,1204,99200000,-;eth0: link is up",
]


def test_the_last_xid_is_returned() -> None:
    assert last_xid(RECORDS) == (
        "Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus."
    )


@given(st.lists(st.text()))
def test_other_lines_are_ignored(lines: list[str]) -> None:
    assert last_xid(line for line in lines if "Xid" not in line) == ""


def test_an_unreadable_log_is_empty() -> None:
    assert isinstance(latest(), str)
