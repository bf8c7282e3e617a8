"""Examples in the API document."""

from typing import Any

_ID = "0197f3c2-5a1e-7c40-9d3b-6f2a8e1b4c55"
_BASE = "http://127.0.0.1:8081/api/v1/inference"
_POSITION = "MS4zLjE3LjVrN1Z4dw"
_DIGEST = "sha256:" + "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_INPUT = {"digest": _DIGEST, "media_type": "image/jpeg", "size_bytes": 48213, "width_px": 640, "height_px": 480}
_MODEL = {"name": "shapes-detector", "version": "1", "digest": _DIGEST}
_RESULTS = [
    {
        "input": 0,
        "kind": "detection",
        "detections": [{"label": "star", "class_index": 3, "score": 0.93, "box": [12.0, 40.5, 120.0, 118.0]}],
    }
]
_TIMING = {"queued_ms": 12.0, "running_ms": 48.0, "decode_ms": 6.1, "inference_ms": 9.8}

SUMMARY: dict[str, Any] = {
    "id": _ID,
    "tenant": "default",
    "status": "succeeded",
    "version": 3,
    "position": _POSITION,
    "model": _MODEL,
    "created_at": "2026-11-22T10:00:00.000Z",
    "updated_at": "2026-11-22T10:00:00.060Z",
    "labels": {"batch": "42"},
    "inputs": [_INPUT],
    "run": 1,
    "attempt": 1,
    "error": None,
    "timing": _TIMING,
    "urls": {
        "get": f"{_BASE}/jobs/{_ID}",
        "result": f"{_BASE}/jobs/{_ID}?after={_POSITION}",
        "events": f"{_BASE}/jobs/{_ID}/events",
        "runs": f"{_BASE}/jobs/{_ID}/runs",
        "web": f"http://127.0.0.1:8081/jobs/{_ID}",
        "cancel": f"http://127.0.0.1:8080/api/v1/inference/jobs/{_ID}/cancel",
    },
}
JOB: dict[str, Any] = SUMMARY | {"results": _RESULTS, "provenance": {"model": _MODEL}}
JOBS: dict[str, Any] = {"items": [SUMMARY], "next": None}
RUN_SUMMARY: dict[str, Any] = {
    "run": 1,
    "status": "succeeded",
    "model": _MODEL,
    "parameters": {"min_score": 0.25, "max_detections": 50},
    "deadline_s": 60.0,
    "max_attempts": 3,
    "requested_at": "2026-11-22T10:00:00.000Z",
    "started_at": "2026-11-22T10:00:00.012Z",
    "finished_at": "2026-11-22T10:00:00.060Z",
    "attempt": 1,
    "attempts": [
        {
            "attempt": 1,
            "executor": "executor-1",
            "started_at": "2026-11-22T10:00:00.012Z",
            "ended_at": "2026-11-22T10:00:00.060Z",
            "outcome": "succeeded",
            "reason": None,
        }
    ],
    "progress": None,
    "error": None,
    "timing": _TIMING,
}
RUN: dict[str, Any] = RUN_SUMMARY | {
    "inputs": [_INPUT],
    "results": _RESULTS,
    "provenance": {"model": _MODEL},
}
RUNS: dict[str, Any] = {"items": [RUN_SUMMARY]}
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "0197f3c2-5a20-7e11-8a4c-0d9b3c7e5f21",
    "source": "urn:darkroom:executor",
    "type": "darkroom.job.execution-started.v1",
    "subject": _ID,
    "time": "2026-11-22T10:00:00.012Z",
    "streamversion": 2,
    "data": {"run": 1, "attempt": 1, "executor": "executor-1", "lease_s": 15.0},
    "position": _POSITION,
    "partition": 3,
    "offset": 17,
    "void": False,
    "status": "running",
}
EVENTS: dict[str, Any] = {"items": [EVENT], "next": None}
MODEL: dict[str, Any] = {
    "name": "shapes-detector",
    "versions": [
        {
            "version": "1",
            "digest": _DIGEST,
            "kind": "detection",
            "runtime": "litert",
            "status": "active",
            "source": {"type": "upload"},
            "artifact": {"digest": _DIGEST, "size_bytes": 412304, "format": "tflite"},
            "input": {
                "width_px": 128,
                "height_px": 128,
                "layout": "NHWC",
                "dtype": "uint8",
                "normalization": None,
            },
            "output": {"format": "tflite-detection", "activation": "none", "label_offset": 0},
            "labels": ["circle", "square", "triangle", "star"],
            "labels_digest": _DIGEST,
            "registered_at": "2026-11-22T09:00:00.000Z",
            "retired_at": None,
        }
    ],
}
MODELS: dict[str, Any] = {"items": [MODEL]}
STATS: dict[str, Any] = {
    "jobs": {"total": 2, "by_status": {"succeeded": 2, "failed": 0}},
    "models": [
        {
            "model": "shapes-detector",
            "version": "1",
            "events": {"created": 2, "execution-succeeded": 2},
            "void": 0,
            "finished": 2,
            "mean_ms": {"queued": 11.5, "running": 47.0, "inference": 9.9},
        }
    ],
}
PROJECTIONS: dict[str, Any] = {
    "items": [
        {
            "read_model": "jobs",
            "family": "jobs",
            "generation": 1,
            "kept": [],
            "building": None,
            "fold_version": 1,
            "topic": "darkroom.jobs.v1",
            "quarantined": 0,
            "lag": 0,
            "partitions": [
                {
                    "partition": 0,
                    "position": _POSITION,
                    "next": 18,
                    "end_seen": 18,
                    "end_seen_at": "2026-11-22T10:00:01.000Z",
                    "lag": 0,
                }
            ],
        }
    ]
}
