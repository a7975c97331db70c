"""`/asyncapi`: the contract of the event stream as a page, and as a document."""

import json
from functools import cache
from typing import Any, cast

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse
from faststream.specification.asyncapi import get_asyncapi_html
from faststream.specification.base import Specification

from stoker_shared.asyncapi import document

# Neither is part of the REST API: they stand beside /docs and /openapi.json, open to all as those are.
router = APIRouter(include_in_schema=False)


class _Document:
    """As much of FastStream's specification as its page asks for: ours says more than FastStream knows."""

    title = "Stoker"

    def to_json(self) -> str:
        return json.dumps(_document())


@router.get("/asyncapi.json")
def asyncapi_document() -> JSONResponse:
    """Every message of the streams as an AsyncAPI 3.0 document: subjects, headers, schemas."""
    return JSONResponse(_document())


@router.get("/asyncapi")
def asyncapi_page() -> HTMLResponse:
    """The same for people. As with /docs, the browser fetches the viewer from a public network of npm packages."""
    return HTMLResponse(_page())


@cache
def _document() -> dict[str, Any]:
    return document()


@cache
def _page() -> str:
    return get_asyncapi_html(cast(Specification, _Document()), try_it_out_path=None)
