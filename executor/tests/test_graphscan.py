"""Real SavedModels pass the scan; the same models with one op added do not."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.executor import archive, graphscan, savedmodel
from darkroom.executor.digests import sha256_of_file
from darkroom.executor.outcomes import ModelRefused, RunRequest, Succeeded
from darkroom.executor.pool import ChildPool
from darkroom.executor.problems import ModelError

FORBIDDEN = re.findall(
    r"\w+",
    """
    ReadFile WriteFile MatchingFiles WholeFileReaderV2 TextLineReaderV2 ReaderReadV2 ImmutableConst
    RecordInput InitializeTableFromTextFileV2 FileSystemSetConfiguration PyFunc PyFuncStateless EagerPyFunc
    TextLineDataset TFRecordDatasetV2 CacheDatasetV2 SnapshotDatasetV2 DataServiceDatasetV4 IteratorV2
    OneShotIterator Save SaveSlices SaveV2 Restore RestoreSlice RestoreV2 DTensorRestoreV2
    MergeV2Checkpoints DistributedSave LoadAndRemapMatrix GenerateVocabRemapping CreateSummaryFileWriter
    CreateSummaryDbWriter WriteSummary ImportEvent WriteImageSummary DebugIdentityV3 DebugNumericSummary
    DumpTensor DecodeProtoV2 EncodeProto CalibrationStatisticsSaver RpcClient RpcCall RemoteCall
    RemoteFusedGraphExecute CollectiveReduceV3 Send _Recv _HostSend TPUCompile XlaSendToHost XlaCustomCallV2
    XlaHostCompute MlirPassthroughOp InitializeTRTResource GcsConfigureCreds
    """,
)
HARMLESS = re.findall(
    r"\w+",
    """
    Conv2D FusedBatchNormV3 Relu6 Softmax ReadVariableOp VarHandleOp AssignVariableOp ShardedFilename
    StringJoin Const TensorArrayReadV3 TensorArrayWriteV3 TensorListPushBack NonMaxSuppressionV5
    CombinedNonMaxSuppression DecodeJpeg LookupTableFindV2 HashTableV2 LookupTableImportV2
    StatefulPartitionedCall While If Where ResizeBilinear PartitionedCall Placeholder Identity NoOp Assert
    Print ScalarSummary Snapshot RngReadAndSkip
    """,
)


@pytest.fixture
def graph(testdata: Path) -> Any:
    return savedmodel.read_folder(testdata / "models/savedmodel/vww_96_person")


def refusal(graph: Any) -> str:
    with pytest.raises(ModelError) as caught:
        graphscan.check(graph)
    assert caught.value.problem.type == "urn:darkroom:problem:model-unsupported"
    return caught.value.problem.detail


def function(graph: Any, part: str) -> Any:
    (found,) = [one for one in graph.graph_def.library.function if part in one.signature.name]
    return found


def test_ops_are_judged_by_family() -> None:
    assert [op for op in FORBIDDEN if not graphscan.is_forbidden(op)] == []
    assert [op for op in HARMLESS if graphscan.is_forbidden(op)] == []


@pytest.mark.parametrize("name", ["vww_96_person", "ssd_mobilenet_v1_coco", "mobilenet_v1_025_224_classification"])
def test_real_models_pass_and_do_hold_saver_ops(name: str, testdata: Path) -> None:
    graph = savedmodel.read_folder(testdata / "models/savedmodel" / name)
    graphscan.check(graph)
    ops = {node.op for one in graph.graph_def.library.function for node in one.node_def}
    assert ops >= graphscan.SAVER_OPS


def test_a_forbidden_op_is_found_in_the_graph_and_in_any_function(graph: Any) -> None:
    node = graph.graph_def.node.add(name="leak", op="ReadFile")
    assert "ReadFile ('leak' in the graph)" in refusal(graph)
    node.op = "NoOp"
    graphscan.check(graph)
    hidden = graph.graph_def.library.function.add()
    hidden.signature.name = "__inference_never_called"
    hidden.node_def.add(name="run", op="EagerPyFunc")
    assert "EagerPyFunc ('run' in the function __inference_never_called)" in refusal(graph)


def test_the_saver_may_save_but_not_read_other_files(graph: Any) -> None:
    function(graph, "traced_save").node_def.add(name="steal", op="ReadFile")
    assert "ReadFile" in refusal(graph)


def test_saver_ops_outside_the_saver_are_refused(graph: Any) -> None:
    function(graph, "signature_wrapper___call___4700").node_def.add(name="write", op="SaveV2")
    assert "SaveV2" in refusal(graph)


@pytest.mark.parametrize(
    "way", ["attribute", "nested", "list", "legacy", "object", "bare-object", "concrete", "gradient", "graph"]
)
def test_a_saver_function_that_something_else_can_reach_is_none(graph: Any, way: str) -> None:
    save = function(graph, "traced_save").signature.name
    caller = function(graph, "signature_wrapper___call___4700").node_def
    match way:
        case "attribute":
            caller.add(name="x", op="StatefulPartitionedCall").attr["f"].func.name = save
        case "nested":
            handed = caller.add(name="x", op="StatefulPartitionedCall").attr["f"].func
            handed.name = "another"
            handed.attr["g"].func.name = save
        case "list":
            caller.add(name="x", op="Case").attr["branches"].list.func.add().name = save
        case "legacy":
            caller.add(name="x", op=save)
        case "object":
            graph.object_graph_def.nodes.add().function.concrete_functions.append(save)
        case "bare-object":
            graph.object_graph_def.nodes.add().bare_concrete_function.concrete_function_name = save
        case "concrete":
            graph.object_graph_def.concrete_functions[save].SetInParent()
        case "gradient":
            graph.graph_def.library.gradient.add(function_name="f", gradient_func=save)
        case "graph":
            graph.graph_def.node.add(name="x", op="PartitionedCall").attr["f"].func.name = save
    assert f"in the function {save})" in refusal(graph)


def test_a_print_into_a_file_is_refused(graph: Any) -> None:
    node = graph.graph_def.node.add(name="say", op="PrintV2")
    graphscan.check(graph)
    node.attr["output_stream"].s = b"stderr"
    graphscan.check(graph)
    node.attr["output_stream"].s = b"file:///tmp/note"
    assert "PrintV2" in refusal(graph)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret"])
def test_an_asset_outside_the_folder_is_refused(graph: Any, name: str) -> None:
    graph.asset_file_def.add(filename="vocabulary.txt")
    graphscan.check(graph)
    graph.asset_file_def.add(filename=name)
    assert "asset" in refusal(graph)


@pytest.mark.parametrize("content", [b"garbage", b"", b"\x0a\xff\xff\xff\xff\x0f"])
def test_what_is_no_saved_model_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError):
        savedmodel.read(content)


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "saved_model.cpb", "tfhub_module.pb"])
def test_a_second_graph_beside_the_scanned_one_is_refused(name: str, testdata: Path, tmp_path: Path) -> None:
    shutil.copy(testdata / "models/savedmodel/vww_96_person/saved_model.pb", tmp_path)
    savedmodel.read_folder(tmp_path)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelError, match="which of them"):
        savedmodel.read_folder(tmp_path)


def test_the_child_itself_refuses_a_model_with_an_op_added_and_lives(
    testdata: Path, tmp_path: Path, pool: ChildPool, request_for: Callable[..., RunRequest]
) -> None:
    good = request_for("savedmodel_vww_96_person", ["images/grace_hopper.jpg"])
    assert isinstance(pool.run(good, 60.0), Succeeded)
    folder = tmp_path / "evil"
    shutil.copytree(testdata / "models/savedmodel/vww_96_person", folder)
    (folder / "saved_model.pb").chmod(0o644)
    folder.chmod(0o755)
    whole = savedmodel.parse((folder / "saved_model.pb").read_bytes())
    function(whole.meta_graphs[0], "signature_wrapper___call___4700").node_def.add(name="spy", op="MatchingFiles")
    (folder / "saved_model.pb").write_bytes(whole.SerializeToString())
    packed = tmp_path / "evil.tar.gz"
    with packed.open("wb") as into:
        archive.pack(folder, into)
    model = {**good.model, "artifact": {"digest": sha256_of_file(packed), "format": "tar.gz"}}
    outcome = pool.run(RunRequest("evil", model, packed, good.labels_path, good.pictures, {}), 60.0)
    assert isinstance(outcome, ModelRefused), outcome
    assert "MatchingFiles ('spy'" in outcome.problem.detail
    again = pool.run(good, 60.0)
    assert isinstance(again, Succeeded)
    assert again.timing["model_load_ms"] == 0.0
