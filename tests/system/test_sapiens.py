"""A whole pretrained network on the RTL: an antibody's chain in, its masked residues out.

On zcu102, whose simulator other tests need anyway: a smaller one would be quicker to build and
slower to run, and one as small as tiny does not hold the keys of a chain.
"""

import numpy as np

from heddle.deploy import Deployment
from heddle.device import open_device
from heddle.evaluate.antibodies import calibration
from heddle.models import Sapiens
from heddle.models.sapiens import antibodies
from heddle.rtl.geometry import PRESETS

MASKED = 11
"""Of every so many residues one is masked."""


def test_every_operation_of_every_layer():
    sapiens, (chain, *others) = Sapiens(), antibodies().values()
    given = "".join("X" if n % MASKED == 5 else letter for n, letter in enumerate(chain))
    outputs = []
    for device in "rtl", "golden":
        deployment = Deployment(sapiens.model, calibration(sapiens, others[:3]),
                                open_device(device, PRESETS["zcu102"]))
        outputs += deployment(sapiens.tokens([given]))
    assert deployment.results[0].report["cycles"] is None
    np.testing.assert_array_equal(*outputs)
    assert outputs[0].shape == (len(chain) + 2, 128)
    [scores] = sapiens.read(sapiens.model.read(outputs[0]), [given])
    filled = "".join(sapiens.residues[row.argmax()] if letter == "X" else letter
                     for letter, row in zip(given, scores))
    assert [filled] == sapiens.fill([given])
