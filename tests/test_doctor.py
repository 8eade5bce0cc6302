"""The report on this machine, and which checkpoints fit."""

from __future__ import annotations

import json

from tests.commands import run
from vipcli.checkpoints.catalog import KNOWN
from vipcli.cli.options import as_option
from vipcli.engine import doctor


def test_the_report_describes_this_machine() -> None:
    record = json.loads(run("doctor", "--json").out)
    cpu = record["devices"][-1]
    assert cpu["name"] == "cpu"
    assert cpu["memory"] > 10**9
    assert set(cpu["fits"]) == set(KNOWN)
    assert cpu["fits"]["llava-interleave-0.5b"] == 16
    assert record["packages"]["torch"].startswith("2.")
    assert "vip-llava-7b" in run("doctor").out


def test_the_most_bits_that_fit_are_recommended() -> None:
    known = KNOWN["vip-llava-7b"]
    assert doctor.max_bits(known, 24 * 10**9) == 16
    assert doctor.max_bits(known, 12 * 10**9) == 8
    assert doctor.max_bits(known, 8 * 10**9) == 4
    assert doctor.max_bits(known, 4 * 10**9) is None


def test_bfloat16_is_suggested_on_the_cpu() -> None:
    report = doctor.MachineReport("3", "here", {}, (doctor.Device("cpu", "a CPU", 10**12),))
    lines = [line.spelled(as_option) for line in doctor.as_lines(report)][3:]
    assert len(lines) == len(KNOWN)
    assert all(line.endswith("fits in 16 bits with --dtype bfloat16") for line in lines)
