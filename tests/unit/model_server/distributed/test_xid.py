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


def test_the_last_one_is_told() -> None:
    assert last_xid(RECORDS) == (
        "Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus."
    )


@given(st.lists(st.text()))
def test_any_other_line_is_none(lines: list[str]) -> None:
    assert last_xid(line for line in lines if "Xid" not in line) == ""


def test_a_log_that_cannot_be_read_is_none() -> None:
    assert isinstance(latest(), str)
