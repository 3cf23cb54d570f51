"""How many operations the graph of a model has, stage by stage: on a GPU each costs microseconds, whatever its size.

Counted are the nodes that onnxruntime keeps after its own fusions on the CPU, without those that only give a value
another shape, which cost nothing. On a GPU a few are not fused, such as a layer with its activation.
"""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import onnx
import onnxruntime as ort
import typer

SHAPE_ONLY = frozenset({"Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity", "Shape"})
LAYERS = frozenset({"Gemm", "FusedGemm"})
STAGES = {
    "network": "backbone, pyramid and RPN head",
    "proposals": "from their outputs to RoI features, RoIAlign included",
    "box head": "its layers",
    "detections": "from their outputs to detections",
}
SOME = 6


def main(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL.onnx…", help="Files that this project exported.")],
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Print a table with the nodes of each model by stage, and the kinds that follow the network most often."""
    report = {str(path): counts_of(path) for path in models}
    typer.echo(table(report))
    if json_out:
        json_out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def counts_of(path: Path) -> dict[str, dict[str, int]]:
    """How many nodes of each kind each stage has."""
    graph = optimized(path).graph
    stages: dict[str, Counter[str]] = {stage: Counter() for stage in STAGES}
    for stage, node in zip(stages_of(graph), graph.node, strict=True):
        if node.op_type not in SHAPE_ONLY:
            stages[stage][node.op_type] += 1
    return {stage: dict(kinds.most_common()) for stage, kinds in stages.items()}


def optimized(path: Path) -> onnx.ModelProto:
    """The graph as onnxruntime runs it, but for the layout of its tensors."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3  # it warns that the file is for this machine
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(target)
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return onnx.load(target)


def stages_of(graph: onnx.GraphProto) -> list[str]:
    """The stage of each node: the network is what convolutions depend on, the box head what its layers do."""
    position = {name: i for i, node in enumerate(graph.node) for name in node.output}
    inputs = [{position[name] for name in node.input if name in position} for node in graph.node]

    def leading_to(last: list[int]) -> set[int]:
        found, waiting = set(last), list(last)
        while waiting:
            fresh = inputs[waiting.pop()] - found
            found |= fresh
            waiting += fresh
        return found

    kinds = [node.op_type for node in graph.node]
    network = leading_to([i for i, kind in enumerate(kinds) if kind.endswith("Conv")])
    proposals = leading_to([i for i, kind in enumerate(kinds) if kind == "RoiAlign"]) - network
    layers = [i for i, kind in enumerate(kinds) if kind in LAYERS]
    # What is multiplied with the RoI features on their way belongs to them.
    features = leading_to(layers[:1]) - network - set(layers)
    box_head = leading_to(layers) - network - proposals - features
    places = [(network, "network"), (proposals | features, "proposals"), (box_head, "box head")]
    return [next((stage for nodes, stage in places if i in nodes), "detections") for i in range(len(kinds))]


def table(report: dict[str, dict[str, dict[str, int]]]) -> str:
    """The counts as an aligned table, a line for each model."""
    width = max(map(len, report)) + 2
    lines = [
        f"{'nodes':<{width}}" + "".join(f"{stage:>12}" for stage in STAGES) + f"{'tail':>8}  most often in the tail"
    ]
    for path, stages in report.items():
        counts = {stage: sum(kinds.values()) for stage, kinds in stages.items()}
        tail = sum((Counter(kinds) for stage, kinds in stages.items() if stage != "network"), Counter[str]())
        often = ", ".join(f"{count} {kind}" for kind, count in tail.most_common(SOME))
        numbers = "".join(f"{counts[stage]:>12}" for stage in STAGES)
        lines.append(f"{path:<{width}}{numbers}{tail.total():>8}  {often}")
    return "\n".join([*lines, *(f"{stage}: {text}" for stage, text in STAGES.items())])


if __name__ == "__main__":
    typer.run(main)
