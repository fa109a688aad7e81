"""Log lines with their fields. The handlers of others, the Functions worker's too, show a line's text alone."""

import logging

from gateway.core.jsontext import dumps

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_MOST = 2000  # characters of a field


class _Fields(logging.Handler):
    """Writes nothing: it adds the fields to the text, for the handlers further up that do write."""

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: str(value)[:_MOST] for name, value in vars(record).items() if name not in _OWN}
        if fields:
            record.msg, record.args = f"{record.getMessage()} {dumps(fields).decode()}", ()


def show_fields() -> None:
    """From now on, `log.warning("event", extra={"waiting": 3})` reads `event {"waiting":"3"}`."""
    log = logging.getLogger("gateway")
    if not any(isinstance(handler, _Fields) for handler in log.handlers):
        log.addHandler(_Fields())


def hide_fields() -> None:
    """The opposite."""
    log = logging.getLogger("gateway")
    log.handlers = [handler for handler in log.handlers if not isinstance(handler, _Fields)]
