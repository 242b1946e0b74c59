"""Examples of imports on the page of the API: what is asked, set aside and refused."""

from collections.abc import Mapping

from app.web.headers import Responses

JSON_BODIES = {
    "text": {
        "summary": "Codes that are pasted",
        "value": {"source": {"type": "text", "text": "code\nSAVE-1\nSAVE-2"}},
    },
    "answer": {
        "summary": "A file at a URL; `column` and `has_header` answer what it does not show",
        "value": {
            "source": {"type": "url", "url": "https://example.org/codes.csv"},
            "column": "pin",
            "has_header": True,
        },
    },
    "accept": {
        "summary": "All of a file, also what is unlike the rest",
        "value": {
            "source": {"type": "text", "text": "code\nSAVE-1000\nSAVE-2000\nGIFT"},
            "accept_suspicious": True,
        },
    },
}
REFUSALS = {
    "asked": {
        "summary": "Asked: two columns may hold the codes",
        "value": {
            "type": "/problems/import-undecided",
            "title": "The file leaves open what only you can say",
            "status": 422,
            "detail": "It cannot be told which column holds the codes. Give `column`, by name or index: 0 'serial': …",
            "instance": "/v1/pools/cards/imports",
            "choices": {
                "column": [
                    {"index": 0, "name": "serial", "first_values": ["A1B2C3", "D4E5F6"]},
                    {"index": 1, "name": "pin", "first_values": ["X9Y8Z7", "U6T5S4"]},
                ]
            },
        },
    },
    "refused": {
        "summary": "Refused: no list of codes",
        "value": {
            "type": "/problems/unreadable-source",
            "title": "The source cannot be read",
            "status": 422,
            "detail": "The file is a login page (HTML); the address wants a sign-in, not a list of codes.",
            "instance": "/v1/pools/cards/imports",
        },
    },
}
REJECTS = {
    "set aside": {
        "summary": "A sum below the codes is set aside, a code of another pool is rejected",
        "value": {
            "items": [
                {"line": 7, "value": "SAVE-9", "reason": "in_other_pool", "other_pool": "autumn"},
                {"line": 62, "value": "Total: 60", "reason": "suspicious", "other_pool": None},
            ],
            "next_cursor": None,
        },
    }
}


def with_examples(responses: Responses, status: int, kind: str, examples: Mapping[str, object]) -> Responses:
    """Return documented responses with examples of one of them."""
    found = dict(responses.get(status, {}))
    content = found.get("content")
    by_type = dict(content) if isinstance(content, dict) else {}
    by_type[kind] = {**by_type.get(kind, {}), "examples": examples}
    return {**responses, status: {**found, "content": by_type}}


IGNORED = {
    "there before": {
        "summary": "Two codes that the pool had already",
        "value": {
            "items": [{"line": 3, "code": "SAVE-2"}, {"line": 9, "code": "SAVE-8"}],
            "next_cursor": None,
        },
    }
}
