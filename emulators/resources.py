"""Files, batches, fine-tuning jobs and models, in memory."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from emulators.answers import errors
from emulators.answers.text import CREATED, short_id
from emulators.call import Call, Dialect
from emulators.inference import OPERATIONS, model_kind
from emulators.plan import Answer, Refused, json_answer
from emulators.request_log import Received

_DEFAULT_MODELS = ("gpt-5.4", "gpt-5.4-mini", "gpt-image-2", "text-embedding-3-small")


@dataclass(slots=True)
class _File:
    shown: dict[str, Any]
    content: bytes


class Resources:
    """A batch is worked off when it is made, through `infer`; its status moves on each time it is read."""

    def __init__(self, infer: Callable[[Call], Answer]) -> None:
        self._infer = infer
        self._files: dict[str, _File] = {}
        self._batches: dict[str, dict[str, Any]] = {}
        self._jobs: dict[str, dict[str, Any]] = {}
        self._count = 0

    def serve(self, call: Call) -> Answer:
        match call.operation.split("/"):
            case ["files", *rest]:
                return self._serve_files(call, rest)
            case ["batches", *rest]:
                return self._serve_batches(call, rest)
            case ["fine_tuning", "jobs", *rest]:
                return self._serve_jobs(call, rest)
        raise errors.resource_not_found()

    def models(self, call: Call, deployments: Mapping[str, str] | None) -> Answer:
        """Azure lists models, not deployments; OpenAI the names that calls take."""
        names = sorted(
            set(deployments.values()) if deployments and call.azure else deployments or _DEFAULT_MODELS
        )
        data = [_model(name, azure=call.dialect is Dialect.DATED) for name in names]
        match call.received.method, call.operation.split("/"):
            case "GET", ["models"]:
                return json_answer({"object": "list", "data": data})
            case "GET", ["models", name] if name in names:
                return json_answer(data[names.index(name)])
        raise errors.resource_not_found()

    def _serve_files(self, call: Call, rest: list[str]) -> Answer:
        match call.received.method, rest:
            case "POST", []:
                return json_answer(self._upload(call), 201 if call.azure else 200)
            case "GET", []:
                return json_answer(_listed(file.shown for file in self._files.values()))
            case "GET", [name]:
                return json_answer(self._file(name).shown)
            case "GET", [name, "content"]:
                return Answer(
                    200, (("content-type", "application/octet-stream"),), (self._file(name).content,)
                )
            case "DELETE", [name]:
                del self._files[self._file(name).shown["id"]]
                return json_answer({"id": name, "object": "file", "deleted": True})
        raise errors.resource_not_found()

    def _upload(self, call: Call) -> dict[str, Any]:
        part = next((part for part in call.files if part.name == "file"), None)
        purpose = call.fields.get("purpose")
        if part is None or not part.filename or not purpose:
            raise errors.coded(
                400, "invalidPayload", "The file upload needs a file with a name and a purpose."
            )
        return self._keep(part.filename, str(purpose), part.content).shown

    def _keep(self, filename: str, purpose: str, content: bytes) -> _File:
        name = self._new_id("file-", filename)
        shown = {"object": "file", "id": name, "bytes": len(content), "created_at": CREATED}
        file = _File({**shown, "filename": filename, "purpose": purpose, "status": "processed"}, content)
        self._files[name] = file
        return file

    def _file(self, name: str) -> _File:
        if name not in self._files:
            raise errors.coded(404, "resourceNotFound", f"File with id '{name}' not found.")
        return self._files[name]

    def _serve_batches(self, call: Call, rest: list[str]) -> Answer:
        match call.received.method, rest:
            case "POST", []:
                return json_answer(self._create_batch(call))
            case "GET", []:
                return json_answer(_listed(self._batches.values()))
            case "GET", [name]:
                return json_answer(_advance(_find(self._batches, name), "validating", "completed"))
            case "POST", [name, "cancel"]:
                batch = _find(self._batches, name)
                batch |= {"status": "cancelling", "cancelling_at": CREATED}
                return json_answer(batch)
        raise errors.resource_not_found()

    def _create_batch(self, call: Call) -> dict[str, Any]:
        source = self._file(str(call.fields.get("input_file_id")))
        lines = [self._work_off(line) for line in source.content.splitlines() if line.strip()]
        output = self._keep("output.jsonl", "batch_output", b"\n".join(map(orjson.dumps, lines)))
        failed = sum(line["response"]["status_code"] != 200 for line in lines)
        batch = {
            "id": self._new_id("batch_", call.fields),
            "object": "batch",
            "endpoint": call.fields.get("endpoint"),
            "errors": None,
            "input_file_id": source.shown["id"],
            "completion_window": call.fields.get("completion_window"),
            "status": "validating",
            "output_file_id": output.shown["id"],
            "error_file_id": None,
            "created_at": CREATED,
            "request_counts": {"total": len(lines), "completed": len(lines) - failed, "failed": failed},
            "metadata": call.fields.get("metadata"),
        }
        self._batches[batch["id"]] = batch
        return batch

    def _work_off(self, line: bytes) -> dict[str, Any]:
        wanted = orjson.loads(line)
        body, operation = wanted["body"], wanted["url"].removeprefix("/v1").strip("/")
        received = Received("POST", wanted["url"], wanted["url"], [], orjson.dumps(body))
        call = Call(received, Dialect.V1, operation, body.get("model"), False, body)
        try:
            answer = self._infer(call) if operation in OPERATIONS else errors.resource_not_found().answer
        except Refused as refused:
            answer = refused.answer
        result = {
            "status_code": answer.status,
            "request_id": "",
            "body": orjson.loads(b"".join(answer.chunks)),
        }
        return {"custom_id": wanted.get("custom_id"), "response": result, "error": None}

    def _serve_jobs(self, call: Call, rest: list[str]) -> Answer:
        match call.received.method, rest:
            case "POST", []:
                return json_answer(self._create_job(call), 201 if call.azure else 200)
            case "GET", []:
                return json_answer(_listed(self._jobs.values()))
            case "GET", [name]:
                job = _find(self._jobs, name)
                shown = _advance(job, "pending", "succeeded")
                if job["status"] == "succeeded":
                    job |= {"fine_tuned_model": f"{job['model']}.ft-emulator", "finished_at": CREATED}
                return json_answer(shown)
            case "GET", [name, "events"]:
                return json_answer(_listed([_job_event(_find(self._jobs, name))]))
            case "GET", [name, "checkpoints"]:
                _find(self._jobs, name)
                return json_answer(_listed([]))
            case "POST", [name, "cancel"]:
                job = _find(self._jobs, name)
                job |= {"status": "cancelled"}
                return json_answer(job)
        raise errors.resource_not_found()

    def _create_job(self, call: Call) -> dict[str, Any]:
        source = self._file(str(call.fields.get("training_file")))
        name = self._new_id("ftjob-", call.fields)
        job = {
            "object": "fine_tuning.job",
            "id": name,
            "model": call.fields.get("model"),
            "created_at": CREATED,
            "status": "pending",
            "training_file": source.shown["id"],
            "validation_file": call.fields.get("validation_file"),
            "fine_tuned_model": None,
            "finished_at": None,
            "hyperparameters": call.fields.get("hyperparameters") or {"n_epochs": "auto"},
            "organization_id": "",
            "result_files": [],
            "seed": call.fields.get("seed", 1),
            "trained_tokens": None,
            "error": None,
        }
        self._jobs[name] = job
        return job

    def _new_id(self, prefix: str, about: object) -> str:
        self._count += 1
        return prefix + short_id(self._count, about)


def _listed(items: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": list(items), "has_more": False}


def _find(table: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in table:
        raise errors.coded(404, "resourceNotFound", f"'{name}' not found.")
    return table[name]


def _advance(item: dict[str, Any], first: str, then: str) -> dict[str, Any]:
    """Shows the item as it is, and moves it on for the next look."""
    shown = dict(item)
    if item["status"] == first:
        item["status"] = then
    elif item["status"] == "cancelling":
        item["status"] = "cancelled"
    return shown


def _job_event(job: dict[str, Any]) -> dict[str, Any]:
    named = {"object": "fine_tuning.job.event", "id": f"ftevent-{short_id(job['id'])}", "type": "message"}
    return {**named, "created_at": CREATED, "level": "info", "message": f"Job is {job['status']}."}


def _model(name: str, *, azure: bool) -> dict[str, Any]:
    if not azure:
        return {"id": name, "object": "model", "created": CREATED, "owned_by": "system"}
    kind = model_kind(name) or "chat"
    abilities = {
        "fine_tune": False,
        "inference": True,
        "completion": False,
        "chat_completion": kind == "chat",
    }
    return {
        "id": name,
        "object": "model",
        "status": "succeeded",
        "created_at": CREATED,
        "updated_at": CREATED,
        "capabilities": {**abilities, "embeddings": kind == "embedding"},
        "lifecycle_status": "generally-available",
        "deprecation": {"inference": CREATED + 365 * 86_400},
    }
