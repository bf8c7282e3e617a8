"""Refuses SavedModels whose graphs touch files, the network or code outside the graph.

A SavedModel is a program: loading it runs its initialisers, calling it runs the rest, with the rights of the
process. So every node of every graph and function is looked at, called or not, before TensorFlow sees the file.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from darkroom.executor.problems import ModelError, model_unsupported

# Every SavedModel carries functions that save and restore its variables. These ops may stand in those alone.
SAVER_OPS = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints"})

# By family rather than by name, so that the next version of an op is met as well. `ShardedFilename` and
# `ShardedFilespec` only join strings.
_FORBIDDEN = re.compile(
    r"""^_?(?:
      (?!Sharded).*File.*                               # ReadFile, MatchingFiles, InitializeTableFromTextFile, …
    | .*Reader.* | RecordInput | ImmutableConst          # the last maps any file into memory
    | .*Dataset.* | .*Iterator.*                         # input pipelines read, write, cache and serve files
    | Save.* | Restore.* | DTensorRestore.* | DistributedSave | .*Checkpoint.*
    | LoadAndRemapMatrix | GenerateVocabRemapping | CalibrationStatisticsSaver
    | .*PyFunc.* | MlirPassthroughOp | XlaCustomCall.*   # code outside the graph
    | .*SummaryWriter.* | .*SummaryDbWriter.* | Write.*Summary | ImportEvent | StatsAggregatorSetSummaryWriter
    | Debug.* | DumpTensor                               # write to file:// and grpc:// addresses
    | (?:De|En)codeProto.*                               # read descriptor files
    | .*TRT.* | RemoteFusedGraphExecute | RemoteCall | Rpc.* | Gcs.* | BigQuery.*
    | .*TPU.* | .*Tpu.* | Collective.* | Nccl.* | Send | Recv | HostSend | HostRecv | Xla(?:Send|Recv|Host).*
    )$""",
    re.VERBOSE,
)
_PRINT_TO = (b"stdout", b"stderr", b"log(info)", b"log(warning)", b"log(error)", b"")


def check(graph: Any) -> None:
    """Look at a meta graph (see savedmodel.read). Raises ModelError that names the op and where it stands."""
    saver = _saver_functions(graph)
    for function, node in _nodes(graph):
        if node.op in SAVER_OPS and function in saver:
            continue
        if is_forbidden(node.op) or (node.op == "PrintV2" and node.attr["output_stream"].s not in _PRINT_TO):
            where = f"the function {function}" if function else "the graph"
            raise ModelError(
                model_unsupported(
                    f"The model's op {node.op} ({node.name!r} in {where}) reaches files, the network or code "
                    "outside the model. Models with such ops are not run; export it without."
                )
            )
    for asset in graph.asset_file_def:
        path = PurePosixPath(asset.filename)
        if path.is_absolute() or ".." in path.parts:
            raise ModelError(model_unsupported(f"The model names an asset outside its folder: {asset.filename!r}."))


def is_forbidden(op: str) -> bool:
    """Whether an op of this name is refused outside of the saver's functions."""
    return op in SAVER_OPS or _FORBIDDEN.match(op) is not None


def calls(node: Any) -> Iterator[str]:
    """Names of the functions that a node calls, through its attributes or by its op."""
    yield node.op
    yield from _named(node.attr)


def _named(attributes: Any) -> Iterator[str]:
    """Functions named in attributes, and in the attributes of those: a function can be handed one to call."""
    for attr in attributes.values():
        for func in (attr.func, *attr.list.func):
            if func.name:
                yield func.name
                yield from _named(func.attr)


def _nodes(graph: Any) -> Iterator[tuple[str, Any]]:
    for node in graph.graph_def.node:
        yield "", node
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            yield function.signature.name, node


def _saver_functions(graph: Any) -> set[str]:
    """Functions called by the saver's own two nodes of the main graph, and by nothing else whatever."""
    saver = graph.saver_def
    entry = {name.partition(":")[0] for name in (saver.save_tensor_name, saver.restore_op_name)} - {""}
    ours: set[str] = set()
    others: set[str] = set(graph.object_graph_def.concrete_functions)
    for function, node in _nodes(graph):
        (ours if not function and node.name in entry else others).update(calls(node))
    for item in graph.object_graph_def.nodes:
        others.update(item.function.concrete_functions)
        others.add(item.bare_concrete_function.concrete_function_name)
    for gradient in graph.graph_def.library.gradient:
        others.update((gradient.function_name, gradient.gradient_func))
    return ours - others
