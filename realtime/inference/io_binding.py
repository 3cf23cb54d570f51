"""A session with preallocated input and output buffers on the device that runs the network."""

from typing import Any

import numpy as np
import onnxruntime as ort

ELEMENT_TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(int64)": np.int64}
"""The types of the contract (``realtime.metadata``), by onnxruntime's names."""
WARM_UP_RUNS = 4
"""onnxruntime's CUDA provider allocates its memory in two runs, records the graph in the third, and replays it from the
fourth on."""


class BoundSession:
    """Runs a network on one device; nothing is allocated there after the warm-up, and only the image is uploaded.

    A recorded CUDA graph replays addresses, so the input must be written to the same buffer each time. The graph
    belongs to the thread that recorded it: warm up in the thread that runs the network (another would warm up again).
    """

    def __init__(self, session: ort.InferenceSession, device: str) -> None:
        """Allocate and bind the buffers.

        Args:
            session: of a graph with one input and fixed shapes.
            device: ``cpu`` or ``cuda``, where the session runs.
        """
        self._session = session
        self._binding = session.io_binding()
        (image,) = session.get_inputs()
        self._shape, self._dtype = tuple(image.shape), ELEMENT_TYPES[image.type]
        self._input = _buffer(image, device)
        self._binding.bind_ortvalue_input(image.name, self._input)
        self._outputs = {output.name: _buffer(output, device) for output in session.get_outputs()}
        for name, buffer in self._outputs.items():
            self._binding.bind_ortvalue_output(name, buffer)

    def run(self, network_input: np.ndarray) -> dict[str, np.ndarray]:
        """Upload the input, run, download the outputs.

        Args:
            network_input: of the shape and type of the graph's input; it is copied.

        Returns:
            The outputs by name, as copies.

        Raises:
            ValueError: the input has another shape or type than the graph's. (onnxruntime accepts any array with the
                right number of elements.)
            Exception: onnxruntime's own, which share no base class.
        """
        if network_input.shape != self._shape or network_input.dtype != self._dtype:
            raise ValueError(
                f"expected an input {self._dtype.__name__} {self._shape}, found {network_input.dtype} "
                f"{network_input.shape}"
            )
        self._input.update_inplace(network_input)
        # The copy runs in another CUDA stream than the network, which must wait for it.
        self._binding.synchronize_inputs()
        self._session.run_with_iobinding(self._binding)
        return {name: np.array(buffer.numpy()) for name, buffer in self._outputs.items()}

    def warm_up(self) -> None:
        """Run until everything is allocated, and the graph, if there is one, is recorded and replayed."""
        nothing = np.zeros(self._shape, self._dtype)
        for _ in range(WARM_UP_RUNS):
            self.run(nothing)


def _buffer(arg: Any, device: str) -> ort.OrtValue:
    return ort.OrtValue.ortvalue_from_shape_and_type(arg.shape, ELEMENT_TYPES[arg.type], device)
