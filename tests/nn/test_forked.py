"""A process that is forked after a model was used can go on with it."""

import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import os, signal, torch
    from limelight.quant.linear import LowBitLinear
    from limelight.quant.packed import pack

    torch.set_num_threads(2)
    weight, x = torch.randn(512, 512), torch.randn(512, 512)
    layer = LowBitLinear(pack(weight, "Q8_0"))

    def run():
        with torch.no_grad():
            return layer(x), (x @ weight).relu().exp().sum()

    expected = run()
    if (child := os.fork()) == 0:
        signal.alarm(60)
        alike = all(torch.allclose(a, b) for a, b in zip(run(), expected, strict=True))
        os._exit(0 if alike and torch.get_num_threads() == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert torch.get_num_threads() == 2
"""


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="nothing forks here")
def test_a_forked_child_goes_on_with_one_thread() -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(PROGRAM)], check=True, timeout=120)
