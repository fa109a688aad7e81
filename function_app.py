"""Azure's front door: a few HTTP functions with explicit prefixes. No logic.

Routes: a root catch-all would shadow the paths that the HTTP extension keeps for itself, and requests
for those would never end; so each prefix is named. Verbs are listed, as an unlisted one never ends.
"""

import os

import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response

from gateway.front_door import FrontDoor
from gateway.log_lines import show_fields

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
show_fields()
door = FrontDoor(os.environ)
door.record_to_the_end()

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]

# With `v1` for Portkey's and OpenAI's API, and `openai` for Azure OpenAI's own paths. The others stand
# for base URLs that were set without `/v1`.
PREFIXES = (
    "v1",
    "openai",
    "analytics",
    "api-keys",
    "audio",
    "batches",
    "chat",
    "completions",
    "configs",
    "embeddings",
    "feedback",
    "files",
    "fine_tuning",
    "images",
    "logs",
    "models",
    "prompts",
    "responses",
    "virtual-keys",
)


async def health(req: Request) -> Response:
    """Up or not up."""
    return await door.handle(req)


def _serve(prefix: str) -> None:
    async def handler(req: Request) -> Response:
        return await door.handle(req)

    app.function_name(f"http_{prefix}")(app.route(f"{prefix}/{{*path}}", methods=METHODS)(handler))


async def purge(timer: func.TimerRequest) -> None:
    """Deletes records past their time, once a day."""
    await door.purge()


app.function_name("purge")(app.timer_trigger(arg_name="timer", schedule="0 17 3 * * *")(purge))
app.function_name("health")(app.route("health", methods=METHODS)(health))
for _prefix in PREFIXES:
    _serve(_prefix)
