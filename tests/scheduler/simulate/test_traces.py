"""Traces: what is read, and what is said of files that are none."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from services.scheduler.simulate.errors import BadTrace
from services.scheduler.simulate.traces import read, read_folder


def test_a_trace_is_read_with_the_columns_that_it_has(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("t,requests,mean_service_s\n0,3,2.5\n60,0,\n120,1,4\n")

    trace = read(path)

    assert (trace.name, trace.bin_s, trace.seconds) == ("some", 60, 180)
    assert trace.requests.tolist() == [3, 0, 1]
    assert trace.mean_service_s.tolist()[::2] == [2.5, 4.0]
    assert np.isnan(trace.mean_service_s[1])
    assert np.isnan(trace.mean_in_tokens).all()


def test_a_packed_trace_is_read_and_bins_left_out_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "some.csv.gz"
    path.write_bytes(gzip.compress(b"requests,t\n3,100\n1,105\n2,120\n"))

    trace = read(path)

    assert (trace.name, trace.bin_s) == ("some", 5)
    assert trace.requests.tolist() == [3, 1, 0, 0, 2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":1: no column t, requests: expected a header with t,requests"),
        ("t,count\n0,1\n1,1\n", ":1: no column requests: expected a header with t,requests"),
        ("t,requests\n0,1\n", ": expected at least two bins, got 1"),
        ("t,requests\n0,1\n1,x\n", ":3: requests: expected a number from 0, got 'x'"),
        ("t,requests\n0,1\n1\n", ":3: requests: expected a number from 0, got None"),
        ("t,requests\n0,1\n1,-1\n", ":3: requests: expected a number from 0, got '-1'"),
        ("t,requests\n0,1\n1,1.5\n", ":3: requests: expected a whole number, got 1.5"),
        ("t,requests\n0,1\n1,nan\n", ":3: requests: expected a number from 0, got 'nan'"),
        ("t,requests\n0,1\ninf,1\n", ":3: t: expected a number from 0, got 'inf'"),
        ("t,requests\n0,1\n60,1\n60,1\n", ":4: t: expected more than in the line before"),
        ("t,requests\n0,1\n0.5,1\n", ": t: expected bins of whole seconds, got 0.5 s"),
        ("t,requests\n0,1\n60,1\n150,1\n", ":4: t: expected a multiple of 60 s after the first"),
        ("t,requests\n0,0\n60,0\n", ": expected 1 to 1000000000 requests, got 0"),
        ("t,requests\n0,9e9\n60,0\n", ": expected 1 to 1000000000 requests, got 9000000000"),
        ("t,requests\n0,1\n1,1\n1e12,1\n", ": expected at most 34560000 s, got 1000000000001"),
        (
            "t,requests,mean_service_s\n0,1,fast\n1,1,2\n",
            ":2: mean_service_s: expected a number from 0, got 'fast'",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)

    with pytest.raises(BadTrace) as caught:
        read(path)

    assert str(caught.value) == f"{path}{said}"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bad.csv", b"t,requests\n\xff\xfe,1\n"),
        ("bad.csv.gz", b"t,requests\n0,1\n"),
        ("bad.csv.gz", gzip.compress(b"t,requests\n0,1\n60,1\n", mtime=0)[:-9]),
        ("bad.csv.gz", gzip.compress(b"t,requests\n0,1\n60,1\n", mtime=0)[:20] + b"\0" * 30),
    ],
)
def test_what_is_no_text_is_told(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)

    with pytest.raises(BadTrace, match="cannot be read as CSV: "):
        read(tmp_path / name)


def test_a_folder_without_traces_is_told(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing")

    with pytest.raises(BadTrace, match=r"no trace there: expected files \*.csv or \*.csv.gz"):
        read_folder(tmp_path)


def test_the_traces_of_a_folder_come_by_name(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv.gz", "c.json"):
        (tmp_path / name).write_text("")

    assert [path.name for path in read_folder(tmp_path)] == ["a.csv.gz", "b.csv"]
