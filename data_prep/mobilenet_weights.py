"""MobileNetV2 of Coral's test data (8-bit weights) as weights of timm's mobilenetv2_100.

One architecture, three pretraining sets: github.com/google-coral/test_data (Apache-2.0) holds
mobilenet_v2_1.0_224_quant.tflite (ImageNet), mobilenet_v2_1.0_224_inat_bird_quant.tflite and
mobilenet_v2_1.0_224_inat_insect_quant.tflite (iNaturalist). The weights are multiplied out to
float32; batch norm, folded into them there, becomes a bias. Needs: pip install ai-edge-litert

    python data_prep/mobilenet_weights.py FILE.tflite --out FILE.safetensors

Then: --model "timm:mobilenetv2_100?pad_type=same&mean=0.5&std=0.5" --weights FILE.safetensors
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from alpt_lib.errors import CompanionError, ModelError

# of a convolution or its bias: which layer it belongs to
LAYER = re.compile(
    r"MobilenetV2/((?:expanded_conv(?:_\d+)?/)?(?:expand|depthwise|project|Conv_1|Conv))/"
)
MODEL = "mobilenetv2_100"


def read_layers(file: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(out, in, height, width) weights and (out,) biases of every convolution, in network order.

    Raises:
        ModelError: the package is missing, or the file is no such network.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ModelError("tflite files are read by: pip install ai-edge-litert") from error
    try:
        interpreter = Interpreter(str(file))
    except (ValueError, OSError) as error:
        raise ModelError(f"{file} cannot be read as a tflite model: {error}") from error
    weights: dict[str, np.ndarray] = {}
    biases: dict[str, np.ndarray] = {}
    for tensor in interpreter.get_tensor_details():
        name = tensor["name"].split(";")[0]
        layer = LAYER.match(name)
        if layer and tensor["dtype"] == np.int32:
            biases[layer[1]] = _real(interpreter, tensor)
        elif layer and name.endswith(("Conv2D_Fold", "depthwise_Fold")):
            # a depthwise convolution has its channels last, others their outputs first
            order = (3, 0, 1, 2) if "depthwise" in name else (0, 3, 1, 2)
            weights[layer[1]] = _real(interpreter, tensor).transpose(order)
    if not weights or set(weights) != set(biases):
        raise ModelError(f"{file} is no MobileNetV2 of Coral's test data")
    return [(weights[layer], biases[layer]) for layer in weights]


def _real(interpreter: Any, tensor: dict[str, Any]) -> np.ndarray:
    scale, zero_point = tensor["quantization"]
    stored = interpreter.get_tensor(tensor["index"]).astype(np.float64)
    return ((stored - zero_point) * scale).astype(np.float32)


def state_dict(layers: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Weights of timm's network, its batch norms doing nothing but adding the bias.

    Raises:
        ModelError: other layers than the network has.
    """
    import timm

    network = timm.create_model(MODEL, pretrained=False, pad_type="same")
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    shapes = [tuple(c.weight.shape) for c in convolutions]
    if shapes != [weight.shape for weight, _ in layers]:
        raise ModelError(f"the layers are not those of {MODEL}: {len(layers)} of {len(shapes)}")
    with torch.no_grad():
        for convolution, norm, (weight, bias) in zip(convolutions, norms, layers, strict=True):
            convolution.weight.copy_(torch.from_numpy(weight))
            norm.weight.fill_((1 + norm.eps) ** 0.5)
            norm.bias.copy_(torch.from_numpy(bias))
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith("classifier")}


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="the tflite file")
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file")
    options = parser.parse_args(arguments)
    try:
        save_file(state_dict(read_layers(options.file)), options.out)
    except (CompanionError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}: weights for timm:{MODEL}?pad_type=same&mean=0.5&std=0.5")
    return 0


if __name__ == "__main__":
    sys.exit(main())
