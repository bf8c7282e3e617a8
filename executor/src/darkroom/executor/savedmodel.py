"""Reads ``saved_model.pb`` without TensorFlow: the few fields of its protocol buffers that are needed here.

The messages are declared in a descriptor pool of their own, so that they never meet TensorFlow's. Field numbers
are those of tensorflow/core/protobuf/{saved_model,meta_graph,saver,saved_object_graph}.proto and
core/framework/{graph,function,node_def,attr_value,op_def,tensor_shape}.proto.
"""

from pathlib import Path
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message,
    message_factory,
)

from darkroom.executor.problems import ModelError, model_invalid, model_unsupported

# TensorFlow's DataType numbers of the tensors that a vision model takes and gives.
DTYPES = {1: "float32", 2: "float64", 3: "int32", 4: "uint8", 6: "int8", 9: "int64", 19: "float16"}
PB_BYTES_MAX = 256 * 2**20
# Other files that loaders take for the graph; what is scanned must be what is loaded.
_OTHER_GRAPHS = ("saved_model.pbtxt", "saved_model.cpb", "tfhub_module.pb")

# message → field → (number, type); a trailing * is repeated, {} a map with string keys.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "SavedModel": {"meta_graphs": (2, "MetaGraph*")},
    "MetaGraph": {
        "meta_info_def": (1, "MetaInfo"),
        "graph_def": (2, "Graph"),
        "saver_def": (3, "Saver"),
        "signature_def": (5, "Signature{}"),
        "asset_file_def": (6, "Asset*"),
        "object_graph_def": (7, "ObjectGraph"),
    },
    "MetaInfo": {"tags": (4, "string*"), "tensorflow_version": (5, "string")},
    "Graph": {"node": (1, "Node*"), "library": (2, "Library")},
    "Library": {"function": (1, "Function*"), "gradient": (2, "Gradient*")},
    "Gradient": {"function_name": (1, "string"), "gradient_func": (2, "string")},
    "Function": {"signature": (1, "Op"), "node_def": (3, "Node*"), "ret": (4, "string{}")},
    "Op": {"name": (1, "string"), "output_arg": (3, "Arg*")},
    "Arg": {"name": (1, "string")},
    "Node": {"name": (1, "string"), "op": (2, "string"), "input": (3, "string*"), "attr": (5, "Attr{}")},
    "Attr": {"list": (1, "AttrList"), "s": (2, "bytes"), "func": (10, "Func")},
    "AttrList": {"func": (9, "Func*")},
    "Func": {"name": (1, "string"), "attr": (2, "Attr{}")},
    "Saver": {
        "filename_tensor_name": (1, "string"),
        "save_tensor_name": (2, "string"),
        "restore_op_name": (3, "string"),
    },
    "Signature": {"inputs": (1, "Tensor{}"), "outputs": (2, "Tensor{}")},
    "Tensor": {"name": (1, "string"), "dtype": (2, "int32"), "tensor_shape": (3, "Shape")},
    "Shape": {"dim": (2, "Dim*"), "unknown_rank": (3, "bool")},
    "Dim": {"size": (1, "int64")},
    "Asset": {"filename": (2, "string")},
    "ObjectGraph": {"nodes": (1, "Object*"), "concrete_functions": (2, "Nothing{}")},
    "Object": {"function": (6, "SavedFunction"), "bare_concrete_function": (8, "BareFunction")},
    "SavedFunction": {"concrete_functions": (1, "string*")},
    "BareFunction": {"concrete_function_name": (1, "string")},
    "Nothing": {},
}


def parse(content: bytes) -> Any:
    """The whole message, with what is not declared here kept as it was. Raises ModelError when it is none."""
    saved = _CLASS()
    try:
        saved.ParseFromString(content)
    except message.DecodeError as error:
        raise ModelError(model_invalid(f"saved_model.pb cannot be read: {error}")) from error
    return saved


def read(content: bytes) -> Any:
    """The one meta graph of a TF2 SavedModel. Raises ModelError for anything else."""
    saved = parse(content)
    graphs = [graph for graph in saved.meta_graphs if "serve" in graph.meta_info_def.tags]
    if len(saved.meta_graphs) != 1 or len(graphs) != 1:
        tags = [list(graph.meta_info_def.tags) for graph in saved.meta_graphs]
        raise ModelError(
            model_unsupported(f"A SavedModel with one graph tagged 'serve' is needed; its tags: {tags}.")
        )
    if not graphs[0].object_graph_def.nodes:
        raise ModelError(model_unsupported("It is a TensorFlow 1 SavedModel; save it again with TensorFlow 2."))
    return graphs[0]


def read_folder(folder: Path) -> Any:
    """The meta graph of ``folder``/saved_model.pb. Raises ModelError."""
    path = folder / "saved_model.pb"
    if not path.is_file():
        raise ModelError(model_invalid("There is no saved_model.pb: it is not a SavedModel."))
    others = [name for name in _OTHER_GRAPHS if (folder / name).exists()]
    if others:
        raise ModelError(model_invalid(f"Beside saved_model.pb there is {others[0]}: which of them is the model?"))
    if path.stat().st_size > PB_BYTES_MAX:
        raise ModelError(model_invalid(f"saved_model.pb is larger than {PB_BYTES_MAX} bytes."))
    return read(path.read_bytes())


def shape(tensor: Any) -> tuple[int | None, ...] | None:
    """The shape of a signature's tensor: None for a free size, and for a free rank altogether."""
    if tensor.tensor_shape.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else int(dim.size) for dim in tensor.tensor_shape.dim)


def _declare() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="darkroom/savedmodel.proto", package="darkroom.savedmodel", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        declared = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _declare_field(declared, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("darkroom.savedmodel.SavedModel"))


def _declare_field(into: Any, name: str, number: int, kind: str) -> None:
    field = into.field.add(name=name, number=number, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)
    if kind.endswith("{}"):
        entry = into.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _declare_field(entry, "key", 1, "string")
        _declare_field(entry, "value", 2, kind[:-2])
        kind = f"{into.name}.{entry.name}*"
    if kind.endswith("*"):
        field.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    kind = kind.rstrip("*")
    scalar = f"TYPE_{kind.upper()}"
    if hasattr(descriptor_pb2.FieldDescriptorProto, scalar):
        field.type = getattr(descriptor_pb2.FieldDescriptorProto, scalar)
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".darkroom.savedmodel.{kind}"


_CLASS = _declare()
